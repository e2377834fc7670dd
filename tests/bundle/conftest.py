"""The fixtures of a tiny bundle."""

from bundle_fixtures import _make_onnx, _make_spec, _true_logits, bundle_folder, make_bundle

__all__ = ["_make_onnx", "_make_spec", "_true_logits", "bundle_folder", "make_bundle"]
