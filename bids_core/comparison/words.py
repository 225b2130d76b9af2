"""The results of a run or a comparison in plain words, the same for both.

Read from the top: `lead` (the verdict itself), then one function per sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.comparison.findings import (
    LOSS_MARGIN,
    SCORE_MARGIN,
    by_pair,
    deciding,
    relation,
    telling,
)
from bids_core.comparison.results import RANDOM
from bids_core.formatting import number, percent
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bids_core.comparison.compare import Comparison
    from bids_core.comparison.findings import Finding, Measure, Relation

MEASURES: Final[Mapping[Measure, str]] = {"score": "accuracy", "loss": "held-out answer loss"}
_RELATIONS: Final[Mapping[Relation, str]] = {
    "better": "is better than {other}",
    "worse": "is worse than {other}",
    "no better": "is no better than {other}",
    "unclear": "cannot be distinguished from {other}",
}
_RULED_OUT: Final = (
    f" A gain that would matter ({SCORE_MARGIN:.0%} more right answers, {LOSS_MARGIN:.0%} less "
    "answer loss) is ruled out."
)
_MANY: Final = 10_000_000
"""More test rows than anyone has."""


def lead(main: str, against_random: Sequence[Finding], comparison: Comparison) -> str:
    """Return the verdict: how the main method compares with random selection."""
    label = method_label(main)
    if main == RANDOM:
        return f"The main method is random selection itself. {_levels(main, comparison)}"
    if not against_random:
        return (
            f"There is no random selection to compare {label} with, so it is unknown whether "
            "it is better than chance; add `random` to the methods. "
            f"{_levels(main, comparison)}"
        )
    pairs = by_pair(against_random)
    if len(pairs) == 1:
        open_ = (
            f"These results do not show whether {label} is better or worse than random selection"
        )
        said = open_ if relation(against_random) == "unclear" else stands(against_random)
        ruled_out = _RULED_OUT if relation(against_random) == "no better" else ""
        return f"{said}: {evidence(against_random)}.{ruled_out}"
    counts: dict[Relation, list[str]] = {}
    for (n_rows, _, _), found in pairs.items():
        counts.setdefault(relation(found), []).append(f"{n_rows:,}")
    parts = [
        f"{_verb(kind, 'it' if place else 'random selection')} with {_and(n)} rows"
        for place, (kind, n) in enumerate(counts.items())
    ]
    listed = "; ".join(f"with {key[0]:,} rows {evidence(found)}" for key, found in pairs.items())
    return f"{label} {_and(parts)}: {listed}."


def stands(found: Sequence[Finding]) -> str:
    """Return how one method compares with another: `BIDS is better than LESS by accuracy`."""
    kind, label = relation(found), method_label(found[0].method)
    other = _other(found[0].other)
    if kind == "mixed":
        good = next(one for one in deciding(found) if one.relation == "better")
        bad = next(one for one in deciding(found) if one.relation == "worse")
        return (
            f"The two measures disagree: {label} is better than {other} by "
            f"{MEASURES[good.measure]} and worse by {MEASURES[bad.measure]}"
        )
    by = _and(MEASURES[one.measure] for one in deciding(found))
    text = f"{label} {_RELATIONS[kind].format(other=other)}"
    if kind in ("better", "worse"):
        return f"{text} by {by}"
    return text


def evidence(found: Sequence[Finding]) -> str:
    """Return the numbers of the measures that can decide (of all, if none can)."""
    return "; ".join(numbers(one) for one in telling(found) or found)


def numbers(one: Finding) -> str:
    """Return one difference in full: `macro average 52% against 50%, 2.0 points higher (...)`."""
    if one.value == one.low == one.high == 0:
        return (
            f"not one of {one.tested:,} test rows was answered better or worse "
            f"({MEASURES[one.measure]}), which does not make them equal"
        )
    if one.measure == "score":
        what = f"macro average {percent(one.own)} against {percent(one.others)}"
        shown, unit = [number(100 * v, 1) for v in _sizes(one)], " points"
    else:
        own, others, *shown = nats(one.own, one.others, *_sizes(one))
        what, unit = f"answer loss {own} against {others} nats", ""
    value, low, high = shown
    ends = (
        f"{low} lower to {high} higher"
        if one.low < 0 < one.high
        else f"{low} to {high} {_side(one.value)}"
    )
    return f"{what}, {value}{unit} {_side(one.value)} (95% interval {ends}, p {p_value(one.p)})"


def _sizes(one: Finding) -> tuple[float, float, float]:
    """Return value and ends without signs; of two ends on one side, the nearer first."""
    ends = abs(one.low), abs(one.high)
    return (abs(one.value), *(ends if one.low < 0 < one.high else sorted(ends)))


def _side(value: float) -> str:
    return "higher" if value > 0 else "lower"


def majority(found: Sequence[Finding], comparison: Comparison) -> str:
    """Say what always giving the most frequent answer would score, and what that means."""
    scores = [one for one in found if one.measure == "score"]
    if not scores or not comparison.tasks["majority"].notna().any():
        return "" if all(one.tells for one in scores) else _nothing_right(scores)
    label, other = method_label(scores[0].method), _other(scores[0].other)
    silent = [one for one in scores if not one.tells]
    if not silent:
        floor = percent(comparison.floor)
        return f"Always giving each task's most frequent answer would score {floor}."
    means = "; ".join(f"{percent(one.own)} and {percent(one.others)}" for one in silent)
    where = "" if len(silent) == len(scores) else f" with {_rows(silent)} rows"
    return (
        f"Accuracy is not informative here{where}: the macro averages of {label} and {other} "
        f"({means}) are not above the score of always giving each task's most frequent answer "
        f"({percent(comparison.floor)})."
    )


def ahead(found: Sequence[Finding]) -> list[str]:
    """Say which other methods beat the main one: a sentence for each, and each budget."""
    return _clear(found, "worse")


def _clear(found: Sequence[Finding], kind: Relation) -> list[str]:
    """Return a sentence for each other method with a clear relation to the main one."""
    pairs = by_pair([one for one in found if one.other not in (RANDOM, ZERO_SHOT)])
    several = len({one.n_rows for one in found}) > 1
    return [
        f"{f'With {n_rows:,} rows, ' if several else ''}{stands(pair)}: {evidence(deciding(pair))}."
        for (n_rows, _, _), pair in pairs.items()
        if relation(pair) == kind
    ]


def others(main: str, found: Sequence[Finding]) -> list[str]:
    """Say how the main method compares with the others, starting with those that beat it."""
    pairs = by_pair([one for one in found if one.other not in (RANDOM, ZERO_SHOT)])
    several = len({one.n_rows for one in found}) > 1
    told: tuple[Relation, ...] = ("mixed", "better")
    said = ahead(found) + [sentence for kind in told for sentence in _clear(found, kind)]
    level: tuple[Relation, ...] = ("no better", "unclear")
    for kind in level:
        names: dict[str, list[str]] = {}
        for (n_rows, other, _), pair in pairs.items():
            if relation(pair) == kind:
                names.setdefault(_other(other), []).append(f"{n_rows:,}")
        listed = [f"{n} ({_and(c)} rows)" if several else n for n, c in names.items()]
        if listed:
            said.append(f"{method_label(main)} {_verb(kind, _and(listed))}.")
    return said


def base(main: str, found: Sequence[Finding]) -> str:
    """Say whether training on the selection improved the base model at all."""
    pairs = by_pair([one for one in found if one.other == ZERO_SHOT])
    if not pairs:
        return ""
    label, (last, pair) = method_label(main), list(pairs.items())[-1]
    where = f" with {last[0]:,} rows" if len(pairs) > 1 else ""
    text = {
        "better": "improved the base model",
        "worse": "made the base model worse",
        "mixed": "made the base model better by one measure and worse by the other",
        "no better": "did not improve the base model",
        "unclear": "made no difference to the base model beyond chance",
    }[relation(pair)]
    harder = (
        "; testing a selection needs training that helps"
        if relation(pair) in ("no better", "unclear")
        else ""
    )
    shown = evidence(deciding(pair) or pair)
    return f"Training on the {label} selection{where} {text}{harder}: {shown}."


def worst(main: str, found: Sequence[Finding], comparison: Comparison) -> str:
    """Name the main method's worst task, and random selection's."""
    if not found:
        return ""
    last = max(one.n_rows for one in found)
    measures = [one.measure for one in telling([f for f in found if f.n_rows == last])]
    measure: Measure = measures[0] if measures else "loss"
    shown = [_worst(name, last, measure, comparison) for name in (main, RANDOM)]
    if None in shown or comparison.tasks["task"].nunique() < 2:
        return ""
    what = "lowest score" if measure == "score" else "highest answer loss"
    return f"Worst task ({what}): {'; '.join(str(part) for part in shown)}."


def _worst(method: str, n_rows: int, measure: Measure, comparison: Comparison) -> str | None:
    name = "score" if measure == "score" else "answer_loss"
    frame = comparison.tasks
    rows = frame[(frame["method"] == method) & (frame["n_rows"] == n_rows)].dropna(subset=[name])
    if rows.empty:
        return None
    line = rows.sort_values(name, ascending=measure == "score", kind="stable").iloc[0]
    shown = percent(line[name]) if measure == "score" else number(line[name], 2)
    return f"{method_label(method)} on {line['task']} ({shown})"


def advice(found: Sequence[Finding], command: str) -> str:
    """Say what would settle an unclear result, and what more seeds would add to a clear one."""
    if not found:
        return ""
    open_pairs = [pair for pair in by_pair(found).values() if relation(pair) == "unclear"]
    if not open_pairs:
        if min(one.seeds for one in found) > 1:
            return ""
        return f"To see whether it holds for other training seeds: `{command}`."
    wanted = [one for pair in open_pairs for one in telling(pair) if one.needed_rows]
    if not wanted:
        seeds = [one for pair in open_pairs for one in telling(pair) if one.needed_seeds]
        if seeds:
            least = min(seeds, key=lambda one: one.needed_seeds or 0)
            return (
                f"More test rows alone would not be enough; about {least.needed_seeds:,} "
                f"seeds instead of {least.seeds} would just detect a difference in "
                f"{MEASURES[least.measure]} as large as this (an estimate): `{command}`."
            )
        return f"More test rows and seeds may settle it: `{command}`."
    least = min(wanted, key=lambda one: one.needed_rows or _MANY)
    if (least.needed_rows or 0) <= least.tested:
        return f"A comparison of these two alone, over more seeds, may settle it: `{command}`."
    rows = rounded_up(least.needed_rows or 0)
    count = f"about {rows:,}" if rows < _MANY else f"more than {_MANY:,}"
    seeds_too = (
        f", or about {least.needed_seeds:,} seeds instead of {least.seeds} with the same rows,"
        if least.needed_seeds and least.needed_seeds > least.seeds
        else ""
    )
    return (
        f"If the difference in {MEASURES[least.measure]} is as large as it looks, {count} "
        f"test rows instead of {least.tested:,}{seeds_too} would just detect it (an estimate; "
        f"use twice as many to be safe): add rows to `test`, then `{command}`."
    )


def basis(comparison: Comparison) -> str:
    """Say what all of it is based on."""
    frame = comparison.differences
    trained = comparison.arms[comparison.arms["n_rows"] > 0]
    tasks = comparison.tasks.drop_duplicates("task")
    seeds = int(trained["n_seeds"].min()) if len(trained) else 0
    runs = (
        "Each method was trained only once, so the variation between seeds is unknown; it "
        "can be as large as these differences"
        if seeds == 1
        else f"Each was trained with at least {seeds} seeds"
        + ("; with so few the intervals are somewhat too narrow" if seeds < 5 else "")
    )
    rows = f"{int(tasks['n'].sum()):,} test rows of {_count(len(tasks), 'task')}"
    if frame.empty:
        return f"This rests on {rows}. {runs}."
    family = frame[frame["of"] != "capability"].groupby("family").size().max()
    return (
        f"This rests on {rows}. {runs}. Intervals come from a paired bootstrap over test rows "
        "and seeds and hold for these tasks only; p-values are adjusted (Holm) for up to "
        f"{int(family)} comparisons at a time."
    )


def missing(failed: int) -> str:
    """Say how many cells of a comparison did not finish."""
    if not failed:
        return ""
    cells = "1 cell failed and is" if failed == 1 else f"{failed} cells failed and are"
    return f"{cells} missing here: run again before relying on this."


def nats(*values: float) -> list[str]:
    """Return losses with enough digits that only zero shows as zero."""
    small = any(0 < abs(value) < 0.0005 for value in values)
    return [number(value, 5 if small else 3) for value in values]


def p_value(value: float) -> str:
    """Return a p-value as people write it."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}".rstrip("0") if value < 1 else "1"


def rounded_up(count: int) -> int:
    """Return an estimate rounded up to two significant digits: 4,137 becomes 4,200."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _levels(main: str, comparison: Comparison) -> str:
    """Return the main method's results, for when there is nothing to compare them with."""
    rows = comparison.arms[comparison.arms["method"] == main].to_dict(orient="records")
    said = []
    for row in rows:
        parts = []
        if row.get("macro", float("nan")) == row.get("macro", float("nan")):
            ends = f"{percent(row['low'])} to {percent(row['high'])}"
            parts.append(f"a macro average of {percent(row['macro'])} (95% interval {ends})")
        if row["answer_loss"] == row["answer_loss"]:
            parts.append(f"a held-out answer loss of {number(row['answer_loss'])} nats")
        said.append(f"{_and(parts)} with {row['n_rows']:,} rows")
    return f"{method_label(main)} has {'; '.join(said)}." if said else ""


def _nothing_right(scores: Sequence[Finding]) -> str:
    label, other = method_label(scores[0].method), _other(scores[0].other)
    return (
        f"Accuracy is not informative here: neither {label} nor {other} gives a single right "
        "answer."
    )


def _verb(kind: Relation, other: str) -> str:
    if kind == "mixed":
        return f"is better than {other} by one measure and worse by the other"
    return _RELATIONS[kind].format(other=other)


def _other(name: str) -> str:
    return "random selection" if name == RANDOM else method_label(name)


def _rows(found: Iterable[Finding]) -> str:
    return _and(f"{one.n_rows:,}" for one in found)


def _and(words: Iterable[str]) -> str:
    listed = list(words)
    return (
        " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
