"""Tables of the results: means over seeds, and paired differences with 95% intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows = "Sequence[dict[str, Any]]"


def by_seed(rows: Rows, *, value: str = "loss", **where: object) -> dict[int, float]:
    """Return the mean value of each seed's rows that fit; `where` names fields and their values."""
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
    """Return the mean of method one minus method other, half its 95% interval, and the seeds.

    Compared are results of the same pool, budget and seed; a seed's differences are averaged
    first, so that n is the number of seeds. NaN where nothing can be compared.
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


def table(
    rows: Rows, pool: str, methods: Sequence[str], *, value: str = "loss", against: str = "random"
) -> list[list[str]]:
    """Return lines of a table: method, mean at each budget, paired difference over all budgets."""
    budgets = sorted({row["budget"] for row in rows if 0 < row["budget"] < 1})
    lines = [["method", *(f"{budget:.0%}" for budget in budgets), f"minus {against} [95%]"]]
    for method in methods:
        whole = by_seed(rows, value=value, pool=pool, method=method)
        if not whole:
            continue
        cells = []
        for budget in budgets:
            found = by_seed(rows, value=value, pool=pool, method=method, budget=budget)
            cells.append(f"{np.mean(list(found.values())):.3f}" if found else "")
        if not any(cells):  # zero_shot and full have one value
            cells[-1] = f"{np.mean(list(whole.values())):.3f}"
        difference, half, n = paired(rows, method, against, value=value, pool=pool)
        told = f"{difference:+.3f} ± {half:.3f} (n={n})" if n and method != against else ""
        lines.append([method, *cells, told])
    return lines


def print_tables(rows: Rows, *, pools: Sequence[str], methods: Sequence[str]) -> None:
    """Print each pool's table of test losses."""
    for pool in pools:
        lines = table(rows, pool, methods)
        if len(lines) == 1:
            continue
        widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
        print(f"\n{pool}: mean test loss over seeds")
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
