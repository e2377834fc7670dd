"""The module of bad films, for every test of this folder."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def making() -> ModuleType:
    """The module `bad_films.py` of this folder: chunks, segments and whole films made by hand."""
    path = Path(__file__).with_name("bad_films.py")
    spec = importlib.util.spec_from_file_location("pneumoscan_tests_bad_films", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bad_films(making):
    """Name → (bytes, class of the error), more than forty of them."""
    return making.bad_films()
