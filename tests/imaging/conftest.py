"""The modules of bad films and of DICOM films, for every test of this folder."""

from types import ModuleType

import bad_films as making_bad_films
import dicom_films
import pytest


@pytest.fixture(scope="session")
def making() -> ModuleType:
    """The module `bad_films.py`: chunks, segments and whole films made by hand."""
    return making_bad_films


@pytest.fixture(scope="session")
def bad_films(making):
    """Name → (bytes, class of the error), more than forty of them."""
    return making.bad_films()


@pytest.fixture(scope="session")
def dicom() -> ModuleType:
    """The module `dicom_films.py`: films written by pydicom, and hostile ones made by hand."""
    return dicom_films
