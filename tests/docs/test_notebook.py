"""The notebook runs from top to bottom, and so does the pipeline in a notebook."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from tiny_project import rows

ABSOLUTE = re.compile(r"(?<![\w.:/<>-])/[A-Za-z][\w.-]*/[\w./-]+")
NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook" / "select.ipynb"


def outputs(notebook, kind):
    """Return the outputs of a kind, of all cells."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [o["data"][kind] for c in cells for o in c.outputs if kind in o.get("data", {})]


def strings(node):
    """Yield every text of a notebook but its images."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for name, part in node.items():
            if name != "image/png":
                yield from strings(part)
    elif isinstance(node, list):
        for part in node:
            yield from strings(part)


def run(notebook, folder, *, timeout=120):
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    return notebook


@pytest.fixture
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_its_outputs_are_stored_and_name_no_folder_of_ours(stored):
    assert len(outputs(stored, "image/png")) == 2
    assert len(outputs(stored, "text/html")) >= 4
    # an absolute path of two parts or more, on whatever machine; not an address, a tag or an image
    assert not [place for text in strings(stored) for place in ABSOLUTE.findall(text)]
    assert ABSOLUTE.findall("saved in /srv/me/picks.jsonl") == ["/srv/me/picks.jsonl"]


def test_it_runs_and_shows_what_it_shows(stored, tmp_path):
    shutil.copytree(NOTEBOOK.parent, tmp_path, dirs_exist_ok=True)
    before = outputs(stored, "text/html")
    after = run(nbformat.read(NOTEBOOK, as_version=4), str(tmp_path))
    assert outputs(after, "text/html") == before
    assert len(outputs(after, "image/png")) == 2
    assert (tmp_path / "picks.jsonl").is_file()


def test_rows_are_selected_in_a_notebook(tiny_model_folder, tmp_path):
    """A kernel runs an event loop of its own, in which Prefect's flows have to start."""
    code = f"""
from bids_select import select_rows
found = select_rows(
    {rows("add", 0, 12)!r}, {{"add": {rows("add", 50, 53)!r}, "max": {rows("max", 50, 53)!r}}},
    model={{"path": {str(tiny_model_folder)!r}, "dtype": "float32", "device": "cpu"}}, budget=3,
    settings={{"lora": {{"r": 2, "alpha": 4, "dropout": 0.0}},
              "warmup": {{"epochs": 1, "batch_size": 8}}, "gradients": {{"dim": 64}}}},
)
found
"""
    done = run(new_notebook(cells=[new_code_cell(code)]), str(tmp_path))
    assert "3 of 12 rows, picked by bids" in outputs(done, "text/html")[0]
    assert (tmp_path / "runs" / "rows" / "report.html").is_file()
