"""The notebook in examples/ runs from top to bottom."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from places import EXAMPLES


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client.*")
@pytest.mark.filterwarnings("ignore::RuntimeWarning:zmq.*")
def test_the_notebook_runs(smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOT_MODEL", str(smollm2))
    monkeypatch.setenv("GOT_OUTPUT", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    text = (EXAMPLES / "six_steps.ipynb").read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.get("outputs") for cell in notebook.cells)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(EXAMPLES)}}, timeout=300)
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "\nVERIFIED\n" in printed
    assert "REFUSED at step 3" in printed
