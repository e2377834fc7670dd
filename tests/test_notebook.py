"""The notebook runs from its first cell to its last, and carries no output of its own."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"

pytestmark = pytest.mark.skipif(
    not NOTEBOOK.is_file(), reason="the notebook is not part of this distribution"
)


def test_it_is_saved_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_it_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client.NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (tmp_path / "quickstart" / "evaluation" / "report.html").is_file()
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    assert "array" in last.outputs[0]["data"]["text/plain"]
