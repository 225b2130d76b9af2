"""Tables of the results: means over seeds, and paired differences with 95% intervals.

Intervals are Student's t over seeds: each seed draws model, pool, validation and test rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows = "Sequence[dict[str, Any]]"


def by_seed(rows: Rows, *, value: str = "loss", **where: object) -> dict[int, float]:
    """Return the mean over each seed's matching rows; `where` gives fields and their values."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if all(row.get(key) == wanted for key, wanted in where.items()) and value in row:
            found.setdefault(row["seed"], []).append(row[value])
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width of its 95% interval by Student's t (NaN for one value)."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    spread = np.std(values, ddof=1) / np.sqrt(n)
    return float(np.mean(values)), float(student.ppf(0.975, n - 1) * spread)


def paired(
    rows: Rows, one: str, other: str, *, value: str = "loss", **where: object
) -> tuple[float, float, int]:
    """Return the mean difference of method one from other, half its 95% interval, and n.

    Results with the same pool, budget and seed are compared; a seed's differences are averaged
    first, so that n is the number of seeds. NaN if nothing can be compared.
    """
    places: dict[str, dict[tuple[object, ...], float]] = {one: {}, other: {}}
    for row in rows:
        fits = all(row.get(key) == wanted for key, wanted in where.items())
        if fits and row["method"] in places and value in row:
            places[row["method"]][row["seed"], row["pool"], row["budget"]] = row[value]
    differences: dict[object, list[float]] = {}
    for key in places[one].keys() & places[other].keys():
        differences.setdefault(key[0], []).append(places[one][key] - places[other][key])
    if not differences:
        return float("nan"), float("nan"), 0
    return (*interval([float(np.mean(found)) for found in differences.values()]), len(differences))


def told(rows: Rows, one: str, other: str, *, value: str = "loss", **where: object) -> str:
    """Return a paired difference in words, empty if there is none."""
    difference, half, n = paired(rows, one, other, value=value, **where)
    return f"{difference:+.3f} ± {half:.3f} (n={n})" if n and one != other else ""


def loss_table(rows: Rows, pool: str, methods: Sequence[str]) -> list[list[str]]:
    """Return lines: method, mean test loss at each budget, differences over all budgets."""
    budgets = sorted({row["budget"] for row in rows if 0 < row["budget"] < 1})
    lines = [["method", *(f"{budget:.0%}" for budget in budgets), "minus random", "minus BIDS"]]
    for method in methods:
        whole = by_seed(rows, pool=pool, method=method)
        if not whole:
            continue
        cells = []
        for budget in budgets:
            found = by_seed(rows, pool=pool, method=method, budget=budget)
            cells.append(f"{np.mean(list(found.values())):.3f}" if found else "")
        if not any(cells):  # zero_shot and full have one value
            cells[-1] = f"{np.mean(list(whole.values())):.3f}"
        against = [told(rows, method, other, pool=pool) for other in ("random", "bids")]
        lines.append([method, *cells, *against])
    return lines


def overall_table(rows: Rows, methods: Sequence[str]) -> list[list[str]]:
    """Return lines: method, and its differences from BIDS over all pools and budgets."""
    values = {"loss": "loss", "worst task": "worst_task", "imbalance of AID": "aid_imbalance"}
    lines = [["method", *(f"{name}, minus BIDS" for name in values)]]
    for method in methods:
        cells = [told(rows, method, "bids", value=value) for value in values.values()]
        if any(cells):
            lines.append([method, *cells])
    return lines


def picks_table(
    rows: Rows, pools: Sequence[str], methods: Sequence[str], budget: float
) -> list[list[str]]:
    """Return lines: method, and each pool's shares of clean, off-target, wrong, copied rows."""
    kinds = ("clean", "off_target", "wrong", "duplicate")
    lines = [["method", *pools]]
    for method in methods:
        cells = []
        for pool in pools:
            shares = []
            for kind in kinds:
                where = {"pool": pool, "method": method, "budget": budget}
                found = by_seed(rows, value=f"share_{kind}", **where)
                shares.append(f"{100 * np.mean(list(found.values())):.0f}" if found else "")
            cells.append(" / ".join(shares) if all(shares) else "")
        if any(cells):
            lines.append([method, *cells])
    return lines


def mean_table(
    rows: Rows, keys: Sequence[str], values: Sequence[str], decimals: int = 2
) -> list[list[str]]:
    """Return lines: the keys, and each value's mean over seeds with its 95% interval."""
    lines = [[*keys, *(value.replace("_", " ") for value in values)]]
    for group in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        where = dict(zip(keys, group, strict=True))
        cells = []
        for value in values:
            mean, half = interval(list(by_seed(rows, value=value, **where).values()))
            cells.append(f"{mean:.{decimals}f} ± {half:.{decimals}f}")
        lines.append([*map(str, group), *cells])
    return lines


def markdown(lines: list[list[str]]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *body])


def tables(results: dict[str, Rows], *, pools: Sequence[str], methods: Sequence[str]) -> str:
    """Return all tables as Markdown."""
    rows = results["rows"]
    parts = []
    for pool in pools:
        lines = loss_table(rows, pool, methods)
        if len(lines) > 1:
            parts.append(f"### {pool}: mean test loss\n{markdown(lines)}")
    parts.append(f"### All pools and budgets\n{markdown(overall_table(rows, methods))}")
    for budget in sorted({row["budget"] for row in rows if 0 < row["budget"] < 1}):
        lines = picks_table(rows, pools, methods, budget)
        title = "clean / off target / wrong / near-duplicates, % of the picks"
        parts.append(f"### Picks at {budget:.0%}: {title}\n{markdown(lines)}")
    shapes = mean_table(
        results["columns"], ("pool",), ("skewness", "excess_kurtosis", "bimodality")
    )
    parts.append(f"### Shapes of the columns (medians over columns)\n{markdown(shapes)}")
    measures = ("share_wrong", "precision_at_10", "precision_at_50", "precision_at_all", "auc")
    found = mean_table(results["audit"], ("pool", "among", "score"), measures)
    parts.append(f"### Finding wrong answers\n{markdown(found)}")
    return "\n\n".join(parts)
