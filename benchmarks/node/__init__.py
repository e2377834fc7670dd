"""The node beside a real PACS: what it loses, doubles or delays, and how fast it is. Each needs Orthanc on this machine."""

import sys

from benchmarks.timing import ROOT

# The PACS, its films and the node are started by the same modules as in the tests.
sys.path.insert(0, str(ROOT / "tests" / "support"))
