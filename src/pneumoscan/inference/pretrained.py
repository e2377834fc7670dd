"""The models that come with the package: bundles in the folder `shipped`."""

from pathlib import Path

from pneumoscan.errors import BundleError
from pneumoscan.inference.bundle_files import SHIPPED


def pretrained_bundle() -> Path:
    """Return the folder of the model that is used where none is named, for `load_bundle`.

    Raises:
        BundleError: This installation has none.
    """
    if not (SHIPPED / "model.json").is_file():
        raise BundleError(
            f"this installation of pneumoscan brings no model (there is no {SHIPPED / 'model.json'}).",
            "Name a model (predict: --model, evaluate: MODEL, or PNEUMOSCAN_MODEL), or install pneumoscan again.",
        )
    return SHIPPED
