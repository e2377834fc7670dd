"""The modules of bad films and of DICOM films, for every test of this folder."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"pneumoscan_tests_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def making() -> ModuleType:
    """The module `bad_films.py` of this folder: chunks, segments and whole films made by hand."""
    return load("bad_films")


@pytest.fixture(scope="session")
def bad_films(making):
    """Name → (bytes, class of the error), more than forty of them."""
    return making.bad_films()


@pytest.fixture(scope="session")
def dicom() -> ModuleType:
    """The module `dicom_films.py` of this folder: films written by pydicom, and hostile ones made by hand."""
    return load("dicom_films")
