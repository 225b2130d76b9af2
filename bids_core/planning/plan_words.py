"""A plan in words: which setting to use, what it costs and how much it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_core.formatting import number, percent
from bids_core.planning.settings import EXACT
from bids_core.progress import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def plan_words(plan: Mapping[str, Any]) -> list[str]:
    """Return the sentences of a plan; the first is the advice.

    Args:
        plan: what `plan.json` holds: `settings`, `chosen`, `limits`, `sample`, `machine`.
    """
    said = [_advice(plan)]
    if not plan["sample"]["judges"]:
        said.append(
            "The exact picks do not clearly have more influence than random rows, so "
            "no expected loss is given."
        )
    large = [row["name"] for row in plan["settings"] if row["cost"]["fits_memory"] is False]
    if large and len(large) < len(plan["settings"]):
        said.append(f"Too large for its memory: {', '.join(large)}.")
    if plan["left_out"]:
        said.append(
            "Not tried, because they keep no more rows than the budget: "
            f"{', '.join(plan['left_out'])}."
        )
    return said


def _advice(plan: Mapping[str, Any]) -> str:
    rows = {row["name"]: row for row in plan["settings"]}
    hours, least = plan["limits"]["hours"], plan["limits"]["overlap"]
    chosen = rows.get(plan["chosen"])
    if chosen is None:
        fitting = [row for row in rows.values() if row["cost"]["fits_memory"] is not False]
        if not fitting:
            return (
                f"No setting fits into the memory of {plan['machine']['label']}: see "
                "docs/hardware.md."
            )
        if hours is None:
            best = max(fitting, key=lambda row: row["overlap"]["value"])
            return (
                f"No setting that fits into its memory keeps {number(least, 2)} of the exact "
                f"picks. The closest is {best['name']}: {_worth(best, plan)}."
            )
        fastest = min(fitting, key=lambda row: row["cost"]["seconds"])
        return (
            f"No setting fits into {hours:g} h: the fastest, {fastest['name']}, takes "
            f"{duration(fastest['cost']['seconds'])}."
        )
    if chosen["name"] != EXACT:
        start = (
            f"Take {chosen['name']}"
            if hours is None
            else f"Within {hours:g} h, take {chosen['name']}"
        )
        text = f"{start}: {_worth(chosen, plan)}."
        if hours is None and chosen["overlap"]["low"] < least:
            text += (
                f" Its interval reaches below {number(least, 2)}; a larger sample (--rows) narrows "
                "it."
            )
        return text
    if hours is not None:
        return (
            f"The exact setting fits into {hours:g} h: it takes "
            f"{duration(chosen['cost']['seconds'])}."
        )
    return _none_cheaper([row for row in rows.values() if row["name"] != EXACT], least, plan)


def _none_cheaper(
    others: Sequence[Mapping[str, Any]], least: float, plan: Mapping[str, Any]
) -> str:
    start = f"No cheaper setting keeps {number(least, 2)} of the exact picks: stay exact"
    cheaper = [row for row in others if row["cost"]["share"] < 1]
    if not cheaper:
        return f"{start}."
    best = max(cheaper, key=lambda row: row["overlap"]["value"])
    return f"{start}, or lower --overlap. The closest is {best['name']}: {_worth(best, plan)}."


def _worth(row: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Return in one clause what a setting costs and keeps."""
    cost, overlap, kept = row["cost"], row["overlap"], row["kept"]
    text = (
        f"{percent(cost['share'], 0)} of the cost ({duration(cost['seconds'])}), keeps "
        f"{interval(overlap)} of the picks (chance: {number(plan['sample']['chance'], 2)})"
    )
    if kept["value"] is not None:
        text += f"; and {interval(kept)} of their influence over random rows"
    if row["nats"] is not None:
        text += f", which is {interval(row['nats'], 4)} nats of held-out loss lost"
    return text


def interval(estimate: Mapping[str, Any], digits: int = 2) -> str:
    """Format an estimate: `0.74 (0.66 to 0.81)`; a dash if there is none."""
    if estimate["value"] is None:
        return number(float("nan"))
    shown = number(estimate["value"], digits)
    low, high = estimate["low"], estimate["high"]
    if low is None or (low == high == estimate["value"]):
        return shown
    return f"{shown} ({number(low, digits)} to {number(high, digits)})"
