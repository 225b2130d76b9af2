"""Figures of the results; needs matplotlib (the `bench` extra)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from controlled_lab.summary import paired

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

CURVES = {
    "less": "tab:orange",
    "round_robin": "tab:green",
    "rds_plus": "tab:brown",
    "bids": "tab:blue",
    "bids_cautious": "tab:red",
    "clean_balanced": "black",
}
"""Methods drawn as curves over the budget, and their colours."""
FEWEST_SEEDS = 3
"""With two seeds an interval by Student's t is 13 times the spread: not drawn."""
BARS = (
    "less",
    "round_robin",
    "bids:robust",
    "bids:rank",
    "bids",
    "bids_cautious",
    "clean_balanced",
)


def draw_all(results: dict[str, Any], folder: Path) -> None:
    """Write `controlled-budgets.svg` and `controlled-pools.svg`."""
    plt.switch_backend("Agg")
    plt.rcParams["svg.fonttype"] = "none"  # keep text as text
    plt.rcParams["svg.hashsalt"] = "controlled"  # same results, same file
    folder.mkdir(parents=True, exist_ok=True)
    rows = results["rows"]
    pools = list(dict.fromkeys(row["pool"] for row in rows))
    budgets(rows, pools, folder / "controlled-budgets.svg")
    differences(rows, pools, folder / "controlled-pools.svg")


def budgets(rows: Sequence[dict[str, Any]], pools: list[str], file: Path) -> None:
    """Draw the paired test loss minus that of random over the budget, one panel per pool."""
    columns = min(4, len(pools))
    lines = -(-len(pools) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(3.1 * columns, 2.6 * lines), squeeze=False
    )
    for panel in panels.flat[len(pools) :]:
        panel.set_visible(False)
    for pool, panel in zip(pools, panels.flat, strict=False):
        for turn, (method, colour) in enumerate(CURVES.items()):
            curve = []
            for budget in sorted({row["budget"] for row in rows if 0 < row["budget"] < 1}):
                mean, half, n = paired(rows, method, "random", pool=pool, budget=budget)
                if n >= FEWEST_SEEDS:  # side by side, so that intervals do not overlap
                    curve.append((100 * budget * 1.05**turn, mean, half))
            if curve:
                x, mean, half = np.array(curve).T
                panel.errorbar(x, mean, half, label=method, color=colour, lw=1.2, capsize=2,
                               ls="--" if method == "clean_balanced" else "-")  # fmt: skip
        panel.axhline(0, color="0.55", lw=0.8)
        panel.set_title(pool, fontsize=9)
        panel.set_xscale("log")
        panel.set_xticks([1, 3, 5, 10, 20], ["1", "3", "5", "10", "20"])
        panel.minorticks_off()
        panel.tick_params(labelsize=7)
    panels[0, 0].set_ylabel("loss minus random's")
    panels[-1, 0].set_xlabel("budget, % of the pool")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def differences(rows: Sequence[dict[str, Any]], pools: list[str], file: Path) -> None:
    """Draw each method's loss minus that of random, over all budgets, with paired intervals."""
    figure, panel = plt.subplots(figsize=(8, 0.5 + 0.75 * len(pools)))
    shown = [method for method in BARS if any(row["method"] == method for row in rows)]
    for place, pool in enumerate(pools):
        for turn, method in enumerate(shown):
            mean, half, n = paired(rows, method, "random", pool=pool)
            if n >= FEWEST_SEEDS:
                y = place + 0.8 * (turn / max(1, len(shown) - 1) - 0.5)
                panel.errorbar(mean, y, xerr=half, fmt="o", ms=3, capsize=2,
                               color=CURVES.get(method, "tab:purple"),
                               label=method if place == 0 else None)  # fmt: skip
    panel.axvline(0, color="0.55", lw=0.8)
    panel.set_yticks(range(len(pools)), pools)
    panel.invert_yaxis()
    panel.set_xscale("symlog", linthresh=0.2)
    panel.set_xlabel("test loss minus that of random selection (left: better)")
    panel.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
