"""The report's main figures as separate pictures, for places that can only show images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from bids_core.report.influence import influence_section
from bids_core.report.picks import picks_section
from bids_core.report.scores import scores_section
from bids_core.report.templates import style_sheet

if TYPE_CHECKING:
    from bids_core.report.inputs import ReportInputs

_VARIABLES: Final = re.compile(r":root \{.*?\n\}", re.DOTALL)
_RULES: Final = re.compile(r"^svg .*$", re.MULTILINE)


def pictures(inputs: ReportInputs) -> dict[str, str]:
    """Return SVG documents by name (scores, influence, picks), as far as there is data."""
    scores: dict[str, Any] = scores_section(inputs) or {}
    by_task = (picks_section(inputs) or {}).get("by_task") or {}
    drawings = {
        "scores": scores.get("figure"),
        "influence": influence_section(inputs)["normalised"],
        "picks": by_task.get("figure"),
    }
    return {name: standalone(_wide(str(both))) for name, both in drawings.items() if both}


def _wide(both: str) -> str:
    """Return the first drawing of a responsive figure, the one for a screen."""
    return both[both.index("<svg") : both.index("</svg>") + len("</svg>")]


def standalone(drawing: str) -> str:
    """Return an inline drawing with the styles it needs, on white, in the light theme's colours."""
    sheet = style_sheet()
    variables = _VARIABLES.search(sheet)
    rules = "\n".join(_RULES.findall(sheet))
    light = (variables.group(0) if variables else "").replace("light dark", "light")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
    attributes = f' width="{size.group(1)}" height="{size.group(2)}"' if size else ""
    style = f"<style>{light}\n{rules}\nsvg {{ background: #fff; }}</style>"
    return drawing.replace("<svg", f"<svg{attributes}", 1).replace(">", f">{style}", 1)
