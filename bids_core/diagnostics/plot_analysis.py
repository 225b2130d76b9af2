"""The matplotlib figure of an analysis: influence on each task before and after selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_core.picture import Picture, colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes


def plot_analysis(tables: Mapping[str, pd.DataFrame], sets: Sequence[str]) -> Picture:
    """Plot the normalised AID of each task, and the share of rows that influence it most.

    Args:
        tables: of an `Analysis`.
        sets: names of the pool and the selections.

    Returns:
        A figure with two panels; each has, for every task, one bar for the pool and one per
        selection.
    """
    tasks = list(dict.fromkeys(tables["aid_tasks"]["task"]))
    figure = Picture(figsize=(10, 3.6), layout="constrained")
    influence, rows = figure.subplots(1, 2)
    _bars(influence, tables["aid_tasks"], "normalized_aid", tasks, sets)
    influence.set_title("Average influence on each task (AID)", fontsize=10, loc="left")
    influence.set_ylabel("normalised influence")
    influence.axhline(0, color="#444444", linewidth=0.8)
    counts = tables["thi"].assign(
        share=tables["thi"]["by_task_mean"]
        / tables["thi"].groupby("set")["by_task_mean"].transform("sum")
    )
    _bars(rows, counts, "share", tasks, sets)
    rows.set_title("Task that a row influences most (THI)", fontsize=10, loc="left")
    rows.set_ylabel("share of rows")
    rows.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(
        *influence.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False
    )
    return figure


def _bars(
    axes: Axes, table: pd.DataFrame, value: str, tasks: list[str], sets: Sequence[str]
) -> None:
    width = 0.8 / len(sets)
    places = np.arange(len(tasks))
    for k, name in enumerate(sets):
        heights = table[table["set"] == name].set_index("task")[value].reindex(tasks)
        axes.bar(places + (k - (len(sets) - 1) / 2) * width, heights, width * 0.92,
                 color="#999999" if k == 0 else colour(k - 1), label=name)  # fmt: skip
    turned = len(tasks) > 4 or max(map(len, tasks)) > 14
    axes.set_xticks(places, tasks, rotation=30 if turned else 0, ha="right" if turned else "center")
    axes.spines[["top", "right"]].set_visible(False)
