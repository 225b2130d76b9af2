"""The references are what the code says, and the site of all pages builds without a warning."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from bids_core.config import RunConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_LOADED = re.compile(r"""(?:src|href)=["']?(?:https?:)?//([^"' >]+)|@import|url\(["']?https?:""")


@pytest.fixture(scope="module")
def references():
    """Return docs/write_references.py as a module."""
    spec = importlib.util.spec_from_file_location("references", DOCS / "write_references.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as `make docs` does, strictly; returns its folder."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("name", ["cli.md", "config.md", "bids.schema.json"])
def test_no_reference_is_stale(references, name):
    """If one is: `python docs/write_references.py`."""
    written = (DOCS / name).read_text(encoding="utf-8")
    assert references.PAGES[name]() == written, "run python docs/write_references.py"


def test_every_field_is_in_the_reference():
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    for definition in [
        RunConfig.model_json_schema(),
        *RunConfig.model_json_schema()["$defs"].values(),
    ]:
        for name in definition.get("properties", {}):
            assert f"`{name}`" in page or f".{name}`" in page or f"`{name}[]`" in page, name


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("examples/**/*.yaml")), ids=lambda path: path.name
)
def test_the_schema_takes_the_examples(path):
    schema = json.loads((DOCS / "bids.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


def test_the_schema_refuses_what_the_program_refuses():
    schema = json.loads((DOCS / "bids.schema.json").read_text(encoding="utf-8"))
    good = yaml.safe_load((ROOT / "examples/demo/config.yaml").read_text(encoding="utf-8"))
    for wrong in ({"selecton": {}}, {"selection": {"budget": -1}}, {"pool": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, schema)


def test_every_page_is_in_the_site_and_loads_nothing_from_elsewhere(site):
    for page in DOCS.glob("**/*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file()
    for page in site.glob("**/*.html"):
        html = page.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", html)
        loaded = [tag for tag in tags if _LOADED.search(tag) and 'rel="canonical"' not in tag]
        assert not loaded, f"{page.name}: {loaded}"
    for sheet in site.glob("**/*.css"):
        assert "@import" not in sheet.read_text(encoding="utf-8")


def test_every_page_is_in_the_table_of_contents():
    nav = json.dumps(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    missing = [p for p in DOCS.glob("**/*.md") if f'"{p.relative_to(DOCS)}"' not in nav]
    assert not missing, "name these in mkdocs.yml"


def test_docstrings_are_on_the_python_page(site):
    html = (site / "python.html").read_text(encoding="utf-8")
    assert "Select the rows worth training on." in html
    assert 'id="bids_select.select_rows"' in html
