"""The numbers of the section on rows that hurt."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from bids_core.diagnostics.audit import NEAR_MISS, REASONS, audit_pool
from bids_core.diagnostics.audit_words import audit_words
from bids_core.formatting import number
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import ColumnWarning
from bids_core.report.section import Section
from bids_core.report.texts import conversation
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from bids_core.report.inputs import ReportInputs

_SHOWN: Final = 5
"""Rows listed for each reason."""


def harmful_section(inputs: ReportInputs) -> dict[str, Any]:
    """Return what the section shows."""
    matrix = as_matrix(
        inputs.attribution, row_ids=inputs.row_ids, validation_ids=inputs.validation_ids
    )
    normalization = str(inputs.config.get("selection", {}).get("normalization", "zscore"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # reported by the selection
        found = audit_pool(
            matrix, inputs.tasks, sources=inputs.sources, normalization=normalization
        )
    chosen = inputs.selections.get(inputs.main_method)
    picked = set() if chosen is None else set(chosen["row_id"])
    table = found.table.assign(picked=found.table["row_id"].isin(picked))
    return {
        "words": audit_words(found),
        "method": "" if chosen is None else method_label(inputs.main_method),
        "reasons": [
            {
                "name": name.replace("_", " "),
                "meaning": REASONS[name],
                "rows": f"{len(part):,}",
                "picked": f"{int(part['picked'].sum()):,}",
                "lines": [_line(line, inputs) for line in part.head(_SHOWN).to_dict("records")],
            }
            for name, part in ((n, table[table["reason"] == n]) for n in REASONS if n != NEAR_MISS)
            if len(part)
        ],
    }


SECTION: Final = Section("harmful", "Rows that hurt", 54, harmful_section)


def _line(line: dict[Any, Any], inputs: ReportInputs) -> dict[str, Any]:
    return {
        "row_id": str(line["row_id"]),
        "text": conversation(inputs.conversations.get(str(line["row_id"]))),
        "source": str(line["source"]),
        "harm": number(float(line["harm"]), 2),
        "best": f"{line['best_task']} {number(float(line['best']), 1)}",
        "worst": f"{line['worst_task']} {number(float(line['worst']), 1)}",
        "picked": "yes" if line["picked"] else "no",
    }
