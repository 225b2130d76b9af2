"""An analysis as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from bids_core.diagnostics.analysis import Analysis

_DOUBTFUL_SHOWN = 20
_LEFT_OUT_SHOWN = 20
_LEGEND = (
    "AID: mean influence of the rows on a task. THI: number of rows with their highest "
    "influence on it, by the mean over\nits instances or by the single highest instance."
)
_RETURNS = (0.5, 0.8, 0.95)


def show_analysis(found: Analysis) -> None:
    """Print the tables that fit on a screen; the rest is in the files written by --out."""
    from flows.console import output_console

    console = output_console()
    _show_sets(console, found)
    if "along_picks" in found.tables:
        _show_order(console, found.tables["along_picks"])
    if "utility" in found.tables:
        _show_returns(console, found.tables["utility"])
    _show_others(console, found.tables)
    _show_doubtful(console, found)


def _print(console: Console, title: str, heads: list[str], rows: list[list[Any]]) -> None:
    from flows.console import table

    console.print(table(title, heads, rows))
    console.print()


def _show_sets(console: Console, found: Analysis) -> None:
    console.print(_LEGEND, highlight=False)
    console.print()
    scale = found.facts["normalization"]
    merged = found.tables["aid_tasks"].merge(found.tables["thi"], on=["set", "task"])
    heads = ["task", "instances", "AID", f"AID ({scale})", "THI, task mean", "THI, instance"]
    for name, size in found.facts["sets"].items():
        rows = merged[merged["set"] == name].drop(columns="set").itertuples(index=False)
        _print(console, f"{name} ({size:,} rows)", heads, [list(row) for row in rows])
    if merged["task"].nunique() < 2:
        console.print("All columns count as one task; --tasks FILE gives the task of each.\n")
        return
    imbalance = [[name, value] for name, value in found.facts["imbalance"].items()]
    _print(console, f"Mean difference of AID ({scale}) between tasks", ["set", "difference"],
           imbalance)  # fmt: skip


def _show_order(console: Console, along: pd.DataFrame) -> None:
    """Print the shares of the tasks in the first quarter, half and all of each set's picks."""
    part = along[along["kind"] == "top_task"]
    lines = []
    for name, picks in part.groupby("set", sort=False):
        budgets = sorted(set(picks["picks"]))
        shown = [budgets[max(0, -(-len(budgets) * k // 4) - 1)] for k in (1, 2, 4)]
        shares = picks.pivot_table(index="label", columns="picks", values="share", sort=False)
        lines += [
            [name, label, *(f"{100 * row[budget]:.0f}%" for budget in shown)]
            for label, row in shares.iterrows()
        ]
    heads = ["set", "task", "first quarter", "first half", "all picks"]
    _print(console, "Task that the picks influence most, along the pick order", heads, lines)


def _show_returns(console: Console, utility: pd.DataFrame) -> None:
    lines = []
    for name, part in utility.groupby("set", sort=False):
        share = part["cumulative_share"].to_numpy()
        reached = [int((share < level).sum()) + 1 for level in _RETURNS]
        lines.append([name, *(f"{count:,} of {len(part):,}" for count in reached)])
    heads = ["set", *(f"{level:.0%} of the utility" for level in _RETURNS)]
    _print(console, "Picks needed for a share of the total utility", heads, lines)


def _show_others(console: Console, tables: dict[str, pd.DataFrame]) -> None:
    titles = {
        "overlap": "Overlap of selections",
        "checkpoint_agreement": "Agreement between checkpoints on influence",
        "without_task": "Selection with one task left out",
        "without_instance": "Selection with one validation instance left out, most changed first",
        "without_checkpoint": "Selection with one checkpoint left out",
        "near_duplicates": "Near-duplicates among the picks",
    }
    for name, title in titles.items():
        if name not in tables:
            continue
        frame = tables[name]
        if name == "overlap":  # the table has smaller budgets too
            frame = frame[~frame.duplicated(["first", "second"], keep="last")]
        if name == "checkpoint_agreement":  # shown from 1, as in the report
            frame = frame.assign(first=frame["first"] + 1, second=frame["second"] + 1)
        if name == "without_checkpoint":
            frame = frame.assign(left_out=frame["left_out"] + 1)
        if name == "without_instance":
            frame = frame.sort_values("share_kept", kind="stable")
        shown = frame.head(_LEFT_OUT_SHOWN)
        more = f" ({len(shown)} of {len(frame)})" if len(shown) < len(frame) else ""
        heads = [str(column).replace("_", " ") for column in frame]
        _print(console, title + more, heads, [list(row) for row in shown.itertuples(index=False)])


def _show_doubtful(console: Console, found: Analysis) -> None:
    columns = found.tables["columns"]
    doubtful = columns[columns["doubtful"] != ""]
    if len(doubtful):
        heads = ["validation_id", "task", "skewness", "excess_kurtosis", "bimodality", "doubtful"]
        rows = doubtful[heads].head(_DOUBTFUL_SHOWN).itertuples(index=False)
        title = f"Columns on which a z-score is doubtful ({len(doubtful)} of {len(columns)})"
        _print(console, title, [head.replace("_", " ") for head in heads],
               [list(row) for row in rows])  # fmt: skip
