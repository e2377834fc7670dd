"""An error as JSON types, for one process that tells another."""

from typing import Any

from pneumoscan import errors
from pneumoscan.errors import PneumoscanError


def error_values(problem: PneumoscanError) -> dict[str, str]:
    """Return the class, message and remedy of an error, by the keys `error`, `message` and `remedy`."""
    return {"error": type(problem).__name__, "message": problem.message, "remedy": problem.remedy}


def error_from(values: dict[str, Any]) -> PneumoscanError:
    """Return the error of the result of `error_values`; a `PneumoscanError` if its class is unknown."""
    kind = getattr(errors, str(values["error"]), PneumoscanError)
    error: PneumoscanError = kind(str(values["message"]), str(values["remedy"]))
    return error
