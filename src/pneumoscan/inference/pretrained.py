"""The models in the package: bundles in the folder `shipped`."""

from pathlib import Path

from pneumoscan.errors import BundleError
from pneumoscan.inference.bundle_files import SHIPPED


def pretrained_bundle() -> Path:
    """Return the folder of the default model, for `load_bundle`.

    Raises:
        BundleError: This installation contains no model.
    """
    if not (SHIPPED / "model.json").is_file():
        raise BundleError(
            f"this installation of pneumoscan contains no model (there is no {SHIPPED / 'model.json'}).",
            "Give a model (predict: --model, evaluate: MODEL, or PNEUMOSCAN_MODEL), or install pneumoscan again.",
        )
    return SHIPPED
