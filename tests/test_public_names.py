"""Benchmarks, examples and docs use public names, which stay when files move.

Public is the face of a package of ours (`__all__` of its `__init__`), bids_core's own among them,
and the modules at its root. What lies in a module within a package is not.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import bids_core
import bids_select

ROOT = Path(__file__).parents[1]
OURS = {"bids_core", "bids_select", "flows", "tasks", "deployments"}
ROOMS = {f"bids_core.{module.name}" for module in pkgutil.iter_modules(bids_core.__path__)}
FACES = {"bids_core", *ROOMS, "bids_core.evaluation.suites", "bids_select"}
NAMED_AS_MODULES = {
    "bids_core.evaluation.reasoning_gym",  # in configurations: `scorer:` of a test task
    "bids_core.config.effects_table",  # programs: `python -m`
    "bids_core.config.schema",
}
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOTTED = re.compile(r"\bbids_core(?:\.\w+)+")

SCRIPTS = [*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/**/*.py")]
NOTEBOOKS = [*ROOT.glob("examples/**/*.ipynb"), *ROOT.glob("docs/**/*.ipynb")]
# ARCHITECTURE.md, which is a guide to the files, may name them
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]


def is_public(name: str) -> bool:
    """Whether a dotted name is a face, or what a face lists."""
    if name in FACES | NAMED_AS_MODULES:
        return True
    face, _, last = name.rpartition(".")
    return face in FACES and last in listed(importlib.import_module(face))


def listed(module) -> set[str]:
    """Return what a module offers: `__all__`, or everything without an underscore."""
    return set(getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]))


def imported(code: str) -> list[str]:
    """Return the dotted names that a program imports from us, wherever it does."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] in OURS]


def notebook_code(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def used_names(path: Path) -> list[str]:
    """Return every dotted name of ours that a file uses."""
    if path.suffix == ".ipynb":
        return imported(notebook_code(path))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return imported(text)
    return [*(name for code in FENCE.findall(text) for name in imported(code)),
            *DOTTED.findall(text)]  # fmt: skip


@pytest.mark.parametrize(
    "path", [*SCRIPTS, *NOTEBOOKS, *PAGES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_only_public_names_are_used(path):
    private = sorted({name for name in used_names(path) if not is_public(name)})
    assert not private, f"import these from the face of their package: {private}"


def test_private_names_are_found():
    """The check above sees what it has to see."""
    code = "def f():\n    from bids_core.data.batches import collate\nimport tasks.warmup, numpy"
    assert set(imported(code)) == {"bids_core.data.batches.collate", "tasks.warmup"}
    assert not any(map(is_public, imported(code)))
    assert not is_public("bids_core.data.no_such_name")
    assert is_public("bids_core.data.collate")


@pytest.mark.parametrize("face", sorted(FACES))
def test_every_listed_name_is_there(face):
    """Names in a face that is loaded when asked for can be misspelt unseen."""
    module = importlib.import_module(face)
    assert [name for name in listed(module) if not hasattr(module, name)] == []


@pytest.mark.parametrize("module", sorted(NAMED_AS_MODULES))
def test_modules_that_pages_name_are_there(module):
    assert find_spec(module) is not None


def test_the_flows_have_public_names():
    from flows.select_data import select_data

    assert bids_select.select_data is select_data
    with pytest.raises(AttributeError, match="no_such_flow"):
        bids_select.no_such_flow  # noqa: B018
