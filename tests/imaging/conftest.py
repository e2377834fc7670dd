"""The modules of bad films and of DICOM films, for every test of this folder."""

from types import ModuleType

import bad_films as bad_films_module
import dicom_films
import pytest


@pytest.fixture(scope="session")
def film_bytes() -> ModuleType:
    """The module `bad_films.py`: chunks, segments and whole films made by hand."""
    return bad_films_module


@pytest.fixture(scope="session")
def bad_films(film_bytes):
    """Name → (bytes, class of the error), more than forty of them."""
    return film_bytes.bad_films()


@pytest.fixture(scope="session")
def dicom() -> ModuleType:
    """The module `dicom_films.py`: films written by pydicom, and hostile ones made by hand."""
    return dicom_films
