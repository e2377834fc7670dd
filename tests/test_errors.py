"""The tree of errors is the one that its docstring draws; codes are stable and one for each."""

import inspect
import pickle
import re

import pytest

from pneumoscan import errors
from pneumoscan.errors import FilmDamagedError, PneumoscanError

LINE = re.compile(r"^ {4}(?P<rails>[│├└─ ]*)(?P<name>\w+) +(?P<exit>\d+|exit) +(?P<code>[\w.]+)$")
EXIT_CODES = {"PneumoscanError": 1, "UsageError": 2, "FilmError": 3, "NothingUsableError": 4, "DamagedError": 5,
              "EnvironmentProblemError": 6, "PacsError": 6, "PacsAwayError": 75, "PushError": 6, "PushAwayError": 75}  # fmt: skip


def drawn():
    """The docstring's tree: name → (parent's name, exit code, code)."""
    tree, path = {}, []
    for match in filter(None, map(LINE.match, errors.__doc__.splitlines())):
        depth = len(match["rails"]) // 4
        path = [*path[:depth], match["name"]]
        if depth:
            tree[match["name"]] = (path[depth - 1], int(match["exit"]), match["code"])
    return tree


def classes():
    return {
        name: thing
        for name, thing in inspect.getmembers(errors, inspect.isclass)
        if issubclass(thing, PneumoscanError) and thing is not PneumoscanError
    }


def test_the_drawing_is_the_tree():
    real = {name: (it.__bases__[0].__name__, it.exit_code, it.code) for name, it in classes().items()}
    assert drawn() == real
    assert len(real) >= 28


def test_codes_are_unique_and_exit_codes_are_those_of_the_branch():
    codes = [it.code for it in (PneumoscanError, *classes().values())]
    assert len(set(codes)) == len(codes)
    for it in (PneumoscanError, *classes().values()):
        branch = next(parent.__name__ for parent in it.__mro__ if parent.__name__ in EXIT_CODES)
        assert it.exit_code == EXIT_CODES[branch], it


@pytest.mark.parametrize("it", classes().values())
def test_every_error_says_what_and_what_to_do(it):
    problem = it("film.png is empty.", "Copy it again.")
    assert (problem.message, problem.remedy) == ("film.png is empty.", "Copy it again.")
    assert str(problem) == "film.png is empty. Copy it again."
    assert str(it("film.png is empty.")) == "film.png is empty."
    assert it.__doc__


def test_errors_survive_the_way_between_processes():
    # Pools of worker processes send exceptions home in just this way.
    problem = pickle.loads(pickle.dumps(FilmDamagedError("film.png does not decode.", "Copy it again.")))
    assert type(problem) is FilmDamagedError
    assert (problem.message, problem.remedy) == ("film.png does not decode.", "Copy it again.")


def test_being_ended_from_outside_is_no_error_of_ours():
    assert not issubclass(errors.Terminated, Exception)
