"""Renders the sections with the templates into one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import shutil
import uuid
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import yaml
from markupsafe import Markup

from bids_core.progress import duration
from bids_core.report.glossary import CITATIONS, GLOSSARY, method_terms
from bids_core.report.paths import PathShown
from bids_core.report.section import sections
from bids_core.report.summary import summary_block
from bids_core.report.templates import environment, style_sheet

if TYPE_CHECKING:
    from bids_core.report.inputs import ReportInputs


TEXTS: Final = "report_texts"
"""Folder beside a page, for texts that do not fit on it."""


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report of a run, and a folder beside it with the texts that do not fit on the page.

    The page works without that folder; long texts are then cut, with a note where the full text is.

    Args:
        inputs: of the report.
        path: of the page. A reader sees either the old page or the new one.
    """
    page, parts = _made(replace(inputs, texts_folder=TEXTS))
    aside = path.with_name(f".{TEXTS}-{uuid.uuid4().hex}")
    for name, text in parts.items():
        file = aside / PurePath(name).name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    shutil.rmtree(path.with_name(TEXTS), ignore_errors=True)
    if parts:
        aside.rename(path.with_name(TEXTS))
    new = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    new.write_text(page, encoding="utf-8")
    new.replace(path)


def build_report(inputs: ReportInputs) -> str:
    """Return the report of a run as an HTML document.

    The page needs no network. Without JavaScript it lists the first picks; with JavaScript, all
    picks of all methods can be searched. Text from the data is escaped, and a content security
    policy blocks every other script.

    Args:
        inputs: of the report.

    Returns:
        A complete HTML document.
    """
    return _made(inputs)[0]


def _made(inputs: ReportInputs) -> tuple[str, dict[str, str]]:
    """Return the page, and the files of full texts beside it by their address."""
    templates = environment()
    script = templates.get_template("browse.js.j2").render()
    paths = PathShown(inputs.folder)
    inputs = replace(inputs, rejects=[paths.of(dict(reject)) for reject in inputs.rejects])
    made = {section: section.make(inputs) for section in sections()}
    shown = {section: values for section, values in made.items() if values is not None}
    page = templates.get_template("page.html.j2").render(
        inputs=inputs,
        style=Markup(style_sheet()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=_integrity(script),
        kind="data selection report" if inputs.model else "analysis of a selection",
        summary=summary_block(inputs, paths),
        model=paths.text(inputs.model),
        sections=list(shown),
        timings=_timings(inputs),
        config_text=_config_text(inputs, paths),
        glossary=GLOSSARY | method_terms(inputs.selections),
        citations=CITATIONS,
        **{section.name: values for section, values in made.items()},
    )
    picks = next((v for s, v in shown.items() if s.name == "picks"), None)
    return page + "\n", {} if picks is None else picks["browse"]["parts"]


def _integrity(script: str) -> str:
    """Return the hash by which the content security policy allows the script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _config_text(inputs: ReportInputs, paths: PathShown) -> str:
    shown = paths.of(dict(inputs.config)) if inputs.model else None
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True) if shown else ""


def _timings(inputs: ReportInputs) -> dict[str, Any] | None:
    if not inputs.timings:
        return None
    longest = max(float(step["seconds"]) for step in inputs.timings.values()) or 1.0
    lines = [
        {
            "name": name,
            "time": duration(float(step["seconds"])),
            "share": float(step["seconds"]) / longest,
            "cached": bool(step.get("cached")),
            "memory": _memory(step.get("peak_memory_bytes")),
        }
        for name, step in inputs.timings.items()
    ]
    computed = [s for s in inputs.timings.values() if not s.get("cached")]
    return {
        "lines": lines,
        "total": duration(sum(float(step["seconds"]) for step in inputs.timings.values())),
        "computed": duration(sum(float(step["seconds"]) for step in computed)),
        "has_memory": any(line["memory"] for line in lines),
        "all_computed": len(computed) == len(lines),
    }


def _memory(count: object) -> str:
    return f"{count / 2**30:.2f} GiB" if isinstance(count, int | float) and count else ""
