"""What makes the results: the model that reads the films, and the software around it."""

import hashlib
from dataclasses import astuple

from pneumoscan import __version__
from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.results import Writer
from pneumoscan.bundle.contents import SPEC, pretrained_bundle
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.files import sha256_of


def load_model(config: Config) -> Bundle:
    """Load the configured model, which proves itself by its known answers.

    Raises:
        UsageError: There is no such folder.
        BundleError: The bundle is incomplete or altered, or fails its self-check.
    """
    return load_bundle(config.path(config.node.model) or pretrained_bundle())


def writer_of(config: Config, bundle: Bundle) -> Writer:
    """Return who writes the results with this model.

    Raises:
        ConfigError: The model has no such operating point.
    """
    point = config.node.operating_point or bundle.spec.default_operating_point
    return Writer(
        model_name=bundle.spec.name,
        model_json_sha256=sha256_of(bundle.path / SPEC),
        onnx_sha256=bundle.spec.files["model.onnx"],
        pneumoscan_version=__version__,
        operating_point=point,
        threshold=bundle.spec.threshold(point),
        manufacturer=config.node.manufacturer,
    )


def reading_of(writer: Writer) -> str:
    """Return a short name for readings by this writer: 16 hexadecimal digits that are others for any other writer."""
    return hashlib.sha256(repr(astuple(writer)).encode()).hexdigest()[:16]
