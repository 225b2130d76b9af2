"""What a comparison allows to conclude, and what it does not, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison.compare import RANDOM
from bids_core.formatting import number
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

    from bids_core.comparison.compare import Comparison

LEVEL: Final = 0.05
"""Adjusted p-values below it are called more than chance."""


def conclusions(comparison: Comparison, *, failed: int = 0) -> list[str]:
    """Return sentences for people; the first one is the verdict.

    Args:
        comparison: what was found.
        failed: cells that did not finish.
    """
    found = [
        _verdict(comparison),
        _loss(comparison),
        *_others(comparison),
        _base(comparison),
        _basis(comparison),
    ]
    if failed:
        cells = "1 cell failed and is" if failed == 1 else f"{failed} cells failed and are"
        found.append(f"{cells} missing here: run again before relying on this.")
    return [sentence for sentence in found if sentence]


def _rows(comparison: Comparison, family: str, of: str = "score") -> pd.DataFrame:
    frame = comparison.differences
    if frame.empty:
        return frame
    return frame[(frame["family"] == family) & (frame["of"] == of)]


def _verdict(comparison: Comparison) -> str:
    main = comparison.main_method
    rows = _rows(comparison, RANDOM)
    if rows.empty:
        rows = _rows(comparison, RANDOM, "loss")
        what, better = "answer loss", -1
    else:
        what, better = "macro average", 1
    own = rows if rows.empty else rows[rows["method"] == main]
    if own.empty:
        return "There is no random selection to compare with, so nothing here says whether any selection is better than chance; add `random` to the methods."  # noqa: E501
    better_rows = own[(better * own["value"] > 0) & (own["p_holm"] < LEVEL)]
    worse_rows = own[(better * own["value"] < 0) & (own["p_holm"] < LEVEL)]
    listed = "; ".join(_difference(row, what) for row in own.to_dict(orient="records"))
    label = method_label(main)
    if len(better_rows) and not len(worse_rows):
        where = "at every budget" if len(better_rows) == len(own) else "at some budgets"
        lead = f"{label} is better than random selection {where}, beyond chance"
    elif len(worse_rows) and not len(better_rows):
        lead = f"{label} is worse than random selection, beyond chance"
    elif len(worse_rows):
        lead = f"{label} is better than random selection at some budgets and worse at others"
    else:
        lead = f"No difference between {label} and random selection can be concluded from this"
    return f"{lead}: {listed}."


def _loss(comparison: Comparison) -> str:
    """Say how the answer loss stands, which moves where scores are stuck."""
    main = comparison.main_method
    rows = _rows(comparison, RANDOM, "loss")
    if rows.empty or _rows(comparison, RANDOM).empty:
        return ""  # nothing to say, or the verdict says it
    own = rows[rows["method"] == main].to_dict(orient="records")
    listed = []
    for row in own:
        value, low, high = _nats(row["value"], row["low"], row["high"])
        listed.append(
            f"{'+' if row['value'] > 0 else ''}{value} with {row['n_rows']:,} rows "
            f"({low} to {high}, p {_p(row['p_holm'])} after Holm)"
        )
    if not listed:
        return ""
    return (
        f"Answer loss (nats, lower is better), {method_label(main)} minus random: "
        f"{'; '.join(listed)}."
    )


def _nats(*values: float) -> list[str]:
    """Return losses with enough digits that none but zero shows as zero."""
    small = any(0 < abs(value) < 0.0005 for value in values)
    return [number(value, 5 if small else 3) for value in values]


def _difference(row: Mapping[Hashable, Any], what: str) -> str:
    value, low, high, adjusted = (float(row[k]) for k in ("value", "low", "high", "p_holm"))
    points = what != "answer loss"
    ends = (value, low, high)
    shown = [number(100 * v, 1) for v in ends] if points else _nats(*ends)
    unit = "percentage points" if points else "nats"
    sign = "+" if value > 0 else ""
    if value == low == high == 0:
        return (
            f"with {row['n_rows']:,} rows not one of {row['n_rows_tested']:,} test rows was "
            "answered better or worse, which does not make them equal"
        )
    return (
        f"with {row['n_rows']:,} rows {sign}{shown[0]} {unit} in {what} "
        f"(95% interval {shown[1]} to {shown[2]}, p {_p(adjusted)} after Holm)"
    )


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}".rstrip("0") if value < 1 else "1"


def _others(comparison: Comparison) -> list[str]:
    main = comparison.main_method
    rows = _rows(comparison, main)
    rows = rows if rows.empty else rows[~rows["other"].isin([RANDOM, ZERO_SHOT])]
    if rows.empty:
        return []
    groups: dict[str, dict[str, list[str]]] = {
        "ahead of": {}, "behind": {}, "not told apart from": {},
    }  # fmt: skip
    for row in rows.to_dict(orient="records"):
        sure = row["p_holm"] < LEVEL
        kind = "not told apart from" if not sure else "ahead of" if row["value"] > 0 else "behind"
        counts = groups[kind].setdefault(method_label(row["other"]), [])
        counts.append(f"{row['other_rows']:,}")
    parts = [
        f"{kind} "
        + ", ".join(f"{name} ({_and(dict.fromkeys(n))} rows)" for name, n in named.items())
        for kind, named in groups.items()
        if named
    ]
    return [f"Against the other methods, {method_label(main)} is {'; '.join(parts)}."]


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _base(comparison: Comparison) -> str:
    main = comparison.main_method
    rows = _rows(comparison, main)
    rows = rows if rows.empty else rows[rows["other"] == ZERO_SHOT]
    if rows.empty:
        return ""
    sure = rows[rows["p_holm"] < LEVEL]
    if sure.empty:
        return "Training made no difference to the base model beyond chance: a harder test of selection needs training that does."  # noqa: E501
    if (sure["value"] > 0).all():
        return f"Training on the {method_label(main)} selection raised the base model's scores."
    if (sure["value"] < 0).all():
        return f"Training on the {method_label(main)} selection lowered the base model's scores."
    return f"Training on the {method_label(main)} selection raised the base model's scores at some budgets and lowered them at others."  # noqa: E501


def _basis(comparison: Comparison) -> str:
    frame = comparison.differences
    trained = comparison.arms[comparison.arms["n_rows"] > 0]
    tasks = comparison.tasks.drop_duplicates("task")
    seeds = int(trained["n_seeds"].min()) if len(trained) else 0
    corrected = 0 if frame.empty else int(frame.groupby(["family", "of"]).size().max())
    runs = (
        "Each method was trained once, so nothing is known of the variation between seeds, which "
        "can be as large as these differences"
        if seeds == 1
        else f"Each was trained with at least {seeds} seeds"
        + ("; with so few the intervals are somewhat too narrow" if seeds < 5 else "")
    )
    return (
        f"This rests on {int(tasks['n'].sum()):,} test rows of "
        f"{len(tasks)} task{'s' if len(tasks) != 1 else ''}. {runs}. Intervals are a paired "
        "bootstrap over test rows and seeds; "
        f"they speak of these tasks only, and p-values are adjusted for up to {corrected} "
        "comparisons at a time."
    )
