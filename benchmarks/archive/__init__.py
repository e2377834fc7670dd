"""Archives: what is lost when processes are killed, how reading scales, and how much memory a listing takes."""

import sys

from benchmarks.timing import ROOT

# The films are drawn by the same module as in the tests.
sys.path.insert(0, str(ROOT / "tests" / "support"))
