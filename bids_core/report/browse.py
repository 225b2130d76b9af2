"""All picks of all methods, for the list that readers can search, filter and save.

Shapes: N training rows, M validation instances, B picks of a method, U rows picked by any method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import xxhash

from bids_core.formatting import number
from bids_core.report.names import series_looks
from bids_core.report.packed import BLOCK, PART, Turns, packed, text_blocks, whole_texts
from bids_core.report.svg import legend_mark
from bids_core.report.texts import conversation, text_or_none, turns_of
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from bids_core.report.inputs import ReportInputs
    from bids_core.report.names import Look

SHOWN: Final = 50
"""Picks listed without JavaScript."""
BUDGET: Final = 8_200_000
"""Characters that the packed picks may add to the page."""
_OTHERS: Final = 0.35
"""Share of the space for texts given to rows that the main method did not pick."""


def browse_block(inputs: ReportInputs) -> dict[str, Any]:
    """Return the first picks of the main method, and all picks of all methods, packed."""
    picks = inputs.selections[inputs.main_method]
    looks = series_looks(inputs.tasks)
    rows = [_pick(pick, inputs, looks) for pick in picks.head(SHOWN).to_dict("records")]
    place = _places(inputs)
    index = packed(_index(inputs, place))
    instances = [_turns(inputs, name) for name in inputs.validation_ids]
    asked, _ = text_blocks(instances, budget=BUDGET // 8)
    room = max(0, BUDGET - len(index) - sum(map(len, asked)))
    own, rest = _split(inputs, place)
    blocks, cap = text_blocks(own, budget=int((1 - _OTHERS) * room) if rest else room)
    others, others_cap = text_blocks(rest, budget=room - sum(map(len, blocks)))
    cuts = [cap] * len(own) + [others_cap] * len(rest)
    wanted = inputs.texts_folder is not None and any(cut is not None for cut in (cap, others_cap))
    whole = whole_texts([*own, *rest], cuts) if wanted else {}
    key = xxhash.xxh3_64_hexdigest("\n".join([inputs.created, *place]).encode())
    return {
        "rows": rows,
        "shown": SHOWN,
        "total": len(picks),
        "file": inputs.files.get(inputs.main_method),
        "has_winners": any(row["task"] for row in rows),
        "index": index,
        "blocks": [*blocks, *others],
        "asked": asked,
        "cap": _cut_words(cap, others_cap),
        "union": len(place),
        "parts": {
            f"{inputs.texts_folder}/{number}.js": f'bidsTexts("{key}",{number},"{data}");\n'
            for number, data in whole.items()
        },
        "whole": {"folder": inputs.texts_folder, "rows": PART, "key": key} if whole else None,
        "marks": [legend_mark(look) for look in looks.values()],
        "methods": [
            {"name": name, "label": method_label(name), "total": len(frame)}
            for name, frame in _ordered(inputs)
        ],
        "tasks": list(looks),
        "sources": sorted(set(inputs.sources)),
        "columns": [
            {"name": name, "values": list(dict.fromkeys(values))}
            for name, values in inputs.row_columns.items()
        ],
    }


def _split(
    inputs: ReportInputs, place: Mapping[str, int]
) -> tuple[list[Turns | None], list[Turns | None]]:
    """Split the texts: the main method's picks, filled up to whole blocks, and the rest."""
    names = list(place)
    own = -(-len(inputs.selections[inputs.main_method]) // BLOCK) * BLOCK
    return [_turns(inputs, n) for n in names[:own]], [_turns(inputs, n) for n in names[own:]]


def _cut_words(cap: int | None, others: int | None) -> str:
    """Describe which texts are cut on the page."""
    if cap is None and others is None:
        return ""
    if cap == others:
        return f"texts longer than {cap:,} characters are cut here"
    parts = [] if cap is None else [f"texts longer than {cap:,} characters are cut here"]
    if others is not None:
        how = f"cut to {others:,} characters" if others else "left out"
        parts.append(f"texts that only other methods picked are {how}")
    return ", and ".join(parts)


def _ordered(inputs: ReportInputs) -> Iterable[tuple[str, pd.DataFrame]]:
    """Return the selections, the main method's first."""
    main = inputs.main_method
    yield main, inputs.selections[main]
    yield from ((name, frame) for name, frame in inputs.selections.items() if name != main)


def _places(inputs: ReportInputs) -> dict[str, int]:
    """Return row id -> index among all picked rows [U], the main method's picks first."""
    place: dict[str, int] = {}
    for _, frame in _ordered(inputs):
        for row_id in frame["row_id"]:
            place.setdefault(str(row_id), len(place))
    return place


def _index(inputs: ReportInputs, place: Mapping[str, int]) -> dict[str, Any]:
    """Return the columns by which the list filters and sorts (see browse.js)."""
    row_of = dict(zip(inputs.row_ids, range(len(inputs.row_ids)), strict=True))
    rows = [row_of[row_id] for row_id in place]
    sources = sorted(set(inputs.sources))
    source_code = {name: code for code, name in enumerate(sources)}
    tasks = list(dict.fromkeys(inputs.tasks))
    task_code = {name: code for code, name in enumerate(tasks)}
    column_of = {name: column for column, name in enumerate(inputs.validation_ids)}
    columns = []
    for name, values in inputs.row_columns.items():
        codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
        columns.append(
            {"name": name, "values": list(codes), "codes": [codes[values[row]] for row in rows]}
        )
    return {
        "block": BLOCK,
        "ids": list(place),
        "sources": sources,
        "source": [source_code[inputs.sources[row]] for row in rows],
        "columns": columns,
        "tasks": tasks,
        "instances": list(inputs.validation_ids),
        "task": [task_code[task] for task in inputs.tasks],
        "methods": [
            {
                "name": name,
                "label": method_label(name),
                "file": inputs.files.get(name),
                "rows": [place[str(row_id)] for row_id in frame["row_id"]],
                "utility": [_rounded(value) for value in frame["utility"]],
                "winner": [
                    column_of.get(text_or_none(name) or "", -1)
                    for name in frame["winning_validation"]
                ],
            }
            for name, frame in _ordered(inputs)
        ],
    }


def _rounded(value: object) -> float | None:
    """Return a utility with four significant digits; None if there is none."""
    found = float(value)  # type: ignore[arg-type]
    return float(f"{found:.4g}") if math.isfinite(found) else None


def _turns(inputs: ReportInputs, name: str) -> list[tuple[str, str]] | None:
    messages = inputs.conversations.get(name)
    return None if messages is None else turns_of(messages)


def _pick(
    pick: Mapping[Any, Any], inputs: ReportInputs, looks: Mapping[str, Look]
) -> dict[str, Any]:
    winner, task = (text_or_none(pick.get(f"winning_{what}")) for what in ("validation", "task"))
    return {
        "rank": int(pick["rank"]),
        "row_id": str(pick["row_id"]),
        "source": str(pick["source"]),
        "utility": number(float(pick["utility"])) if winner else "",
        "task": task,
        "mark": legend_mark(looks[task]) if task is not None and task in looks else "",
        "winner": winner,
        "text": conversation(inputs.conversations.get(str(pick["row_id"]))),
        "winner_text": conversation(inputs.conversations.get(winner)) if winner else None,
    }
