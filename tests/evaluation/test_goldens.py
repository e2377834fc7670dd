"""A change of the code changes no figure of evaluate, adapt, card and data inspect, and no word of their pages."""

import json

import evaluation_goldens as goldens
import pytest

MACHINE = goldens.machine()
EXPECTED = json.loads(goldens.GOLDENS.read_text()).get(MACHINE)


@pytest.mark.skipif(EXPECTED is None, reason=f"no digests are stored for {MACHINE}")
def test_figures_and_pages_are_those_of_the_stored_digests(tmp_path):
    goldens.write_all(tmp_path)
    assert goldens.digests(tmp_path) == EXPECTED
