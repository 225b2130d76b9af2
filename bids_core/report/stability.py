"""The numbers of the section on how stable the picks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.formatting import number, percent
from bids_core.report.figure_lines import Histogram, histograms
from bids_core.report.section import Section
from bids_core.report.svg import responsive
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from markupsafe import Markup

    from bids_core.report.inputs import ReportInputs

_SHOWN: Final = 10
"""Validation instances shown, those that change the picks most first."""
_TABLES: Final = frozenset(
    ("checkpoint_agreement", "without_checkpoint", "without_task", "without_instance",
     "near_duplicates", "columns", "histograms")
)  # fmt: skip
_HISTOGRAMS: Final = 12
"""Columns that are drawn, the doubtful ones first."""
_WEAK: Final = 0.5
"""Below this mean rank correlation, checkpoints disagree."""


def stability_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the section shows, None if nothing was examined."""
    tables = {name: table for name, table in inputs.tables.items() if name in _TABLES}
    if not tables:
        return None
    return {
        "method": method_label(inputs.main_method),
        "agreement": _agreement(tables.get("checkpoint_agreement")),
        "weak": _weak(tables.get("checkpoint_agreement")),
        "left_out": [
            _left_out(tables[f"without_{kind}"], kind)
            for kind in ("checkpoint", "task", "instance")
            if f"without_{kind}" in tables
        ],
        "duplicates": _duplicates(inputs, tables),
        "doubtful": _doubtful(tables.get("columns")),
        "columns": len(tables.get("columns", ())),
        "shapes": _shapes(tables.get("columns"), tables.get("histograms")),
    }


def _doubtful(table: pd.DataFrame | None) -> list[dict[str, str]]:
    """Return the columns whose shape makes a z-score doubtful."""
    if table is None:
        return []
    found = table[~table["doubtful"].isin(["", "constant"])]
    return [
        {
            "name": str(line["validation_id"]),
            "why": str(line["doubtful"]),
            "skewness": number(line["skewness"], 2),
            "kurtosis": number(line["excess_kurtosis"], 2),
            "bimodality": number(line["bimodality"], 2),
        }
        for line in found.to_dict("records")
    ]


def _shapes(columns: pd.DataFrame | None, counts: pd.DataFrame | None) -> Markup | None:
    """Draw the histograms of some columns against the normal curve."""
    if columns is None or counts is None or counts.empty:
        return None
    usable = columns[columns["column"].isin(counts["column"])]
    order = usable.assign(fine=usable["doubtful"] == "").sort_values("fine", kind="stable")
    chosen = order.head(_HISTOGRAMS).to_dict("records")
    parts = dict(list(counts.groupby("column", sort=False)))
    drawn = [
        Histogram(
            str(line["validation_id"]),
            str(line["doubtful"]),
            parts[line["column"]]["count"].tolist(),
            parts[line["column"]]["normal"].tolist(),
        )
        for line in chosen
    ]
    label = "Histograms of z-scored columns with the normal curve"
    return responsive(lambda width: histograms(drawn, label=label, width=width))


def _agreement(table: pd.DataFrame | None) -> list[dict[str, str]]:
    if table is None:
        return []
    return [
        {
            "pair": f"{line['first'] + 1} and {line['second'] + 1}",
            "correlation": number(line["correlation"], 2),
            "rank_correlation": number(line["rank_correlation"], 2),
            "top_shared": percent(line["top_shared"], 0),
        }
        for line in table.to_dict("records")
    ]


def _weak(table: pd.DataFrame | None) -> bool:
    return table is not None and bool((table["rank_correlation"] < _WEAK).any())


def _left_out(table: pd.DataFrame, kind: str) -> dict[str, Any]:
    order = table.sort_values("share_kept", kind="stable") if kind == "instance" else table
    shown = order.head(_SHOWN)
    return {
        "kind": kind,
        "heading": "validation instance" if kind == "instance" else kind,
        "total": len(table),
        "shown": len(shown),
        "lowest": percent(float(table["share_kept"].min()), 0),
        "median": percent(float(table["share_kept"].median()), 0),
        "lines": [
            {
                # the table numbers checkpoints from 0, readers count from 1
                "name": str(int(line["left_out"]) + 1)
                if kind == "checkpoint"
                else str(line["left_out"]),
                "kept": f"{int(line['kept']):,}",
                "share": percent(float(line["share_kept"]), 0),
            }
            for line in shown.to_dict("records")
        ],
    }


def _duplicates(
    inputs: ReportInputs, tables: Mapping[str, pd.DataFrame]
) -> list[dict[str, str]] | None:
    """Return the number of near-duplicate pairs among each selection's picks."""
    table = tables.get("near_duplicates")
    if table is None:
        return None
    return [
        {"label": method_label(name), "pairs": f"{int((table['set'] == name).sum()):,}"}
        for name in inputs.selections
    ]


SECTION: Final = Section("stability", "Stability", 50, stability_section)
