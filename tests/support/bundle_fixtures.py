"""The tiny bundle, and what it is made of, as fixtures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_bundle

from pneumoscan.bundle.load import BundleSpec
from pneumoscan.bundle.write import write_bundle

MakeBundle = Callable[..., Path]


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Return the function that writes a bundle; `onnx` and keys of the description may be given."""

    def make(name: str = "bundle", *, onnx: bytes | None = None, **changes: Any) -> Path:
        out = tmp_path / name
        write_bundle(
            out,
            onnx=onnx or tiny_bundle.make_onnx(),
            spec=tiny_bundle.make_spec(**changes),
            readme="# tiny\n",
            training_films=["ab" * 32],
        )
        return out

    return make


@pytest.fixture
def bundle_folder(make_bundle: MakeBundle) -> Path:
    """The folder of a whole, true bundle."""
    return make_bundle()


@pytest.fixture(name="make_onnx")
def _make_onnx() -> Callable[..., bytes]:
    """Return the function that draws the network."""
    return tiny_bundle.make_onnx


@pytest.fixture(name="make_spec")
def _make_spec() -> Callable[..., BundleSpec]:
    """Return the function that describes it."""
    return tiny_bundle.make_spec


@pytest.fixture(name="true_logits")
def _true_logits() -> Callable[..., npt.NDArray[np.float64]]:
    """Return the function that knows its answers."""
    return tiny_bundle.true_logits
