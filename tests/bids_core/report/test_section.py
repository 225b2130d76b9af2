from __future__ import annotations

import pkgutil
from pathlib import Path

import bids_core.report
from bids_core.report.section import sections


def test_sections_are_found_in_the_order_of_their_places():
    found = sections()
    assert [section.name for section in found][:3] == ["scores", "influence", "picks"]
    assert [s.place for s in found] == sorted({s.place for s in found})


def test_every_section_has_its_template_and_every_template_its_section():
    folder = Path(bids_core.report.__path__[0])
    fixed = {"section_summary.html.j2", "section_end.html.j2"}  # the page's own
    assert {s.template for s in sections()} | fixed == {
        path.name for path in folder.glob("section_*.j2")
    }


def test_every_module_can_be_imported_for_the_search():
    assert {module.name for module in pkgutil.iter_modules(bids_core.report.__path__)} >= {
        "page", "picks", "section",
    }  # fmt: skip
