"""The models' answers to a few test rows per task; and zero scores that come from format alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison.results import RANDOM
from bids_core.report.texts import cut
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from bids_core.report.inputs import ReportInputs

_ROWS: Final = 3
"""Test rows shown per task."""
_TEXT: Final = 400
"""Characters shown of an answer."""
_ZERO: Final = 0.02
"""Up to this score, the base model counts as answering nothing correctly."""
_FEW: Final = 0.05
"""Share of answers that may contain the reference by chance."""
_LONGER: Final = 3.0
"""Answers with this many times as many words as the references count as another format."""


def answers_block(inputs: ReportInputs, tasks: Sequence[str]) -> dict[str, Any] | None:
    """Return a few answers per task by base model, main method and random; None if there are none.

    Args:
        inputs: of the report.
        tasks: scored tasks, in order.
    """
    frame = inputs.answers
    if frame is None or frame.empty:
        return None
    wanted = [m for m in (ZERO_SHOT, inputs.main_method, RANDOM) if m in set(frame["method"])]
    methods = list(dict.fromkeys(wanted))
    found = [
        {"task": task, "note": format_note(part), "rows": _rows(part, methods)}
        for task, part in ((t, frame[frame["task"] == t]) for t in tasks)
        if len(part)
    ]
    return {
        "methods": [method_label(method) for method in methods],
        "tasks": found,
        "notes": [f"{one['task']}: {one['note']}" for one in found if one["note"]],
    }


def format_note(part: pd.DataFrame) -> str:
    """Return a note on the tasks where the base model scores zero but may know the answer.

    Args:
        part: answers of one task.
    """
    base = part[(part["method"] == ZERO_SHOT) & part["score"].notna()]
    base = base[base["reference"].fillna("").astype(str).str.strip() != ""]
    if base.empty or base["score"].mean() > _ZERO:
        return ""
    pairs = [
        (_words(answer), _words(reference))
        for answer, reference in zip(base["answer"].fillna(""), base["reference"], strict=True)
    ]
    holding = sum(_holds(answer, reference) for answer, reference in pairs)
    said = []
    if holding >= _FEW * len(base):
        said.append(f"{holding} of its {len(base)} answers contain the right one among other words")
    lengths = [(len(answer), len(reference)) for answer, reference in pairs]
    own, asked = (_median([pair[place] for pair in lengths]) for place in (0, 1))
    if own >= _LONGER * max(asked, 1):
        said.append(
            f"the median length of its answers is {own:g} words, that of the reference answers "
            f"{asked:g}"
        )
    if not said:
        return ""
    score = f"{100 * float(base['score'].mean()):.0f}%"
    return (
        f"the base model scores {score}, but {' and '.join(said)}. Part of any gain here may "
        "come from the format of the answers, not from skill."
    )


def _rows(part: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    ids = list(dict.fromkeys(part["row_id"]))[:_ROWS]
    shown = []
    for row_id in ids:
        rows = part[part["row_id"] == row_id]
        first = rows.iloc[0]
        given = {row.method: row for row in rows.itertuples(index=False)}
        shown.append(
            {
                "question": cut(str(first["question"]), _TEXT),
                "reference": cut(_text(first["reference"]), _TEXT),
                "answers": [_answer(method, given.get(method)) for method in methods],
            }
        )
    return shown


def _answer(method: str, row: Any) -> dict[str, Any]:  # itertuples' rows are untyped
    score = float("nan") if row is None else float(row.score)
    verdict = "not judged" if score != score else f"{100 * score:.0f}%"
    return {
        "method": method_label(method),
        "text": "" if row is None else cut(_text(row.answer), _TEXT),
        "right": score == 1.0,
        "verdict": {1.0: "right", 0.0: "wrong"}.get(score, verdict),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _words(text: object) -> list[str]:
    """Return the words of a text, stripped of punctuation."""
    bare = (word.strip(".,;:!?\"'()[]{}*`$") for word in str(text).lower().split())
    return [word for word in bare if word]


def _holds(answer: list[str], reference: list[str]) -> bool:
    size = len(reference)
    return any(answer[i : i + size] == reference for i in range(len(answer) - size + 1))


def _median(values: Sequence[int]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    even = len(ordered) % 2 == 0
    return (ordered[middle - 1] + ordered[middle]) / 2 if even else float(ordered[middle])
