"""The numbers of the picks section: what was picked, in order, and which instance won each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from bids_core.data import from_json
from bids_core.data.conversation import said
from bids_core.diagnostics.breakdown import POOL
from bids_core.formatting import number, percent
from bids_core.report.figures import stacked_shares
from bids_core.report.names import series_colours
from bids_core.report.section import Section
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from bids_core.report.inputs import ReportInputs

SHOWN: Final = 200
"""Picks that the table lists."""
_TEXT: Final = 1600
"""Characters of a text that are shown."""
_GLANCE: Final = 150
"""Characters that are shown before a text is opened."""
_SOURCES: Final = 8
"""Sources with an area of their own in the figure; the rest are drawn together."""
_REST: Final = "other sources"


def picks_section(inputs: ReportInputs) -> dict[str, Any]:
    """Return what the picks section shows."""
    picks = inputs.selections[inputs.main_method]
    colours = series_colours(inputs.tasks)
    rows = [_pick(pick, inputs, colours) for pick in picks.head(SHOWN).to_dict("records")]
    return {
        "method": method_label(inputs.main_method),
        "rows": rows,
        "total": len(picks),
        "shown": SHOWN,
        "has_winners": any(row["task"] for row in rows),
        "by_task": _by_task(inputs, picks),
        "by_source": _by_source(inputs, picks),
        "sources": _source_table(inputs),
        "breakdowns": breakdowns(inputs),
        "agreement": _agreement(inputs),
        "tasks": sorted({row["task"] for row in rows if row["task"]}),
        "source_names": sorted({row["source"] for row in rows}),
    }


def _pick(
    pick: Mapping[Any, Any], inputs: ReportInputs, colours: Mapping[Any, str]
) -> dict[str, Any]:
    winner = _text_or_none(pick.get("winning_validation"))
    return {
        "rank": int(pick["rank"]),
        "row_id": str(pick["row_id"]),
        "source": str(pick["source"]),
        "utility": number(float(pick["utility"])) if winner else "",
        "utility_value": float(pick["utility"]),
        "task": _text_or_none(pick.get("winning_task")),
        "colour": colours.get(pick.get("winning_task")),
        "winner": winner,
        "text": conversation(inputs.conversations.get(str(pick["row_id"]))),
        "winner_text": conversation(inputs.conversations.get(winner)) if winner else None,
    }


def _text_or_none(value: object) -> str | None:
    """Return a text; pandas has several ways to say that there is none."""
    return value if isinstance(value, str) and value else None


def conversation(messages: str | None) -> dict[str, Any] | None:
    """Cut a conversation (messages as JSON) for the page.

    Returns:
        `glance` (the beginning of the last question), `answer` (of the last answer), and `turns`
        (role and text of every turn, cut); None where there is no conversation.
    """
    if messages is None:
        return None
    turns = [(message.role, said(message)) for message in from_json(messages)]
    asked = next((content for role, content in reversed(turns) if role == "user"), "")
    answer = turns[-1][1] if turns and turns[-1][0] == "assistant" else ""
    return {
        "glance": cut(" ".join(asked.split()), _GLANCE),
        "answer": cut(" ".join(answer.split()), _GLANCE // 2),
        "turns": [{"role": role, "content": cut(content, _TEXT)} for role, content in turns],
    }


def cut(text: str, length: int) -> str:
    """Cut a text, and say so."""
    return text if len(text) <= length else f"{text[:length].rstrip()} \N{HORIZONTAL ELLIPSIS}"


def _by_task(inputs: ReportInputs, picks: pd.DataFrame) -> dict[str, Any] | None:
    names = [_text_or_none(name) for name in picks["winning_task"]]
    if not all(names):
        return None
    order = list(dict.fromkeys(inputs.tasks))
    colours = series_colours(order)
    return {
        "legend": [{"label": name, "colour": colours[name]} for name in order],
        "figure": stacked_shares(
            [name for name in names if name],
            colours=colours,
            order=order,
            label="Share of the first picks that each task's instances won",
            axis="number of picks",
        ),
    }


def _by_source(inputs: ReportInputs, picks: pd.DataFrame) -> dict[str, Any] | None:
    frequent = [name for name, _ in Counter(inputs.sources).most_common()]
    if len(frequent) < 2:
        return None
    own = frequent if len(frequent) <= _SOURCES else frequent[: _SOURCES - 1]
    names = [name if name in own else _REST for name in picks["source"].astype(str)]
    order = own if len(own) == len(frequent) else [*own, _REST]
    colours = series_colours(order)
    return {
        "legend": [{"label": name, "colour": colours[name]} for name in order],
        "figure": stacked_shares(
            names,
            colours=colours,
            order=order,
            label="Share of the first picks that come from each source",
            axis="number of picks",
        ),
    }


def _source_table(inputs: ReportInputs) -> dict[str, Any]:
    """Return each source's share of the pool and of each selection."""
    methods = list(inputs.selections)
    pool = Counter(inputs.sources)
    picked = {m: Counter(inputs.selections[m]["source"].astype(str)) for m in methods}
    rows = [
        {
            "source": source,
            "pool": _share(count, sum(pool.values())),
            "cells": [_share(picked[m][source], sum(picked[m].values())) for m in methods],
        }
        for source, count in pool.most_common()
    ]
    return {"columns": [method_label(m) for m in methods], "rows": rows}


def breakdowns(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return each further column's values: their share of the pool and of each selection."""
    if inputs.breakdown is None:
        return []
    methods = list(inputs.selections)
    tables = []
    for column, lines in inputs.breakdown.groupby("column", sort=False):
        rows = [
            {"value": value, "cells": [_counted(cells, key) for key in (POOL, *methods)]}
            for value, cells in lines.groupby("value", sort=False)
        ]
        labels = [method_label(method) for method in methods]
        tables.append({"column": column, "rows": rows, "columns": labels})
    return tables


def _counted(cells: pd.DataFrame, key: str) -> dict[str, Any]:
    cell = cells[cells["set"] == key].iloc[0]
    share = float(cell["share"])
    return {"share": share, "text": percent(share), "count": int(cell["count"])}


def _share(count: int, total: int) -> dict[str, Any]:
    share = count / total if total else 0.0
    return {"share": share, "text": percent(share), "count": count}


def _agreement(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return how many of the main method's picks the other methods share."""
    main = set(inputs.selections[inputs.main_method]["row_id"])
    others: Sequence[str] = [m for m in inputs.selections if m != inputs.main_method]
    rows = []
    for method in others:
        theirs = set(inputs.selections[method]["row_id"])
        expected = len(main) * len(theirs) / len(inputs.row_ids)
        rows.append(
            {
                "label": method_label(method),
                "shared": len(main & theirs),
                "expected": number(expected, 1),
                "share": percent(len(main & theirs) / len(main)),
            }
        )
    return rows


SECTION: Final = Section("picks", "Picks", 40, picks_section)
