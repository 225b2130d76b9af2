"""Figures of an analysis, with plotly.

Each function takes tables of `bids_core.diagnostics.analysis.Analysis` and returns one figure.

Shapes: see the tables.
"""

from __future__ import annotations

import html
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from plotly.graph_objects import Figure

    from bids_core.diagnostics.analysis import Analysis

_LAYOUT: Final = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
    "legend": {"orientation": "h", "y": -0.2},
    "height": 380,
}
_SHOWN_COLUMNS: Final = 12
_COLOURS: Final = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#eeca3b", "#b279a2", "#ff9da6",
    "#9d755d", "#bab0ac",
)  # fmt: skip


def aid_by_task(aid_tasks: pd.DataFrame, *, value: str = "normalized_aid") -> Figure:
    """Bars: the mean AID of each task, for the pool and each selection."""
    kind = "raw" if value == "aid" else "normalised"
    figure = _figure(f"Average influence (AID) on each task, {kind}", "task", f"AID, {kind}")
    for name, part in aid_tasks.groupby("set", sort=False):
        figure.add_bar(x=part["task"], y=part[value], name=str(name))
    return figure


def thi_by_task(thi: pd.DataFrame, *, by: str = "by_task_mean") -> Figure:
    """Bars: the share of each set's rows that influence a task most."""
    how = "mean over the task's instances" if by == "by_task_mean" else "its highest instance"
    figure = _figure(f"Task that a row influences most (THI), by {how}", "task", "share of rows")
    for name, part in thi.groupby("set", sort=False):
        figure.add_bar(x=part["task"], y=part[by] / part[by].sum(), name=str(name))
    figure.update_yaxes(tickformat=".0%")
    return figure


def along_picks(table: pd.DataFrame, *, set_name: str, kind: str = "top_task") -> Figure:
    """Stacked areas: what the first k picks are made of."""
    part = table[(table["set"] == set_name) & (table["kind"] == kind)]
    title = f"{set_name}: {kind.replace('_', ' ')} along the picks"
    figure = _figure(title, "picks", "share of the picks so far")
    everywhere = sorted(set(table.loc[table["kind"] == kind, "label"]))  # one colour in all sets
    for label, line in sorted(part.groupby("label"), key=lambda item: str(item[0])):
        figure.add_scatter(
            x=line["picks"], y=line["share"], name=str(label), stackgroup="one", mode="lines",
            line={"color": _COLOURS[everywhere.index(label) % len(_COLOURS)], "width": 1},
        )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return figure


def utility_curves(utility: pd.DataFrame) -> Figure:
    """Lines: the cumulative share of positive utility, to see where the returns are gone."""
    figure = _figure("Share of the utility by pick", "picks", "share of all positive utility")
    worth = utility.dropna(subset=["cumulative_share"])  # random and full value nothing
    for name, part in worth.groupby("set", sort=False):
        step = max(1, len(part) // 500)
        thin = part.iloc[::step]
        figure.add_scatter(x=thin["pick"], y=thin["cumulative_share"], name=str(name), mode="lines")
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return figure


def overlap_curves(overlap: pd.DataFrame) -> Figure:
    """Lines: the Jaccard index of each two selections, by budget."""
    figure = _figure("Overlap of selections", "picks of each", "Jaccard index")
    for (first, second), part in overlap.groupby(["first", "second"], sort=False):
        figure.add_scatter(
            x=part["picks"], y=part["jaccard"], name=f"{first} and {second}", mode="lines+markers"
        )
    figure.update_yaxes(range=[0, 1])
    return figure


def column_histograms(
    histograms: pd.DataFrame, columns: pd.DataFrame, *, shown: int = _SHOWN_COLUMNS
) -> Figure:
    """Small histograms of z-scores against the normal curve; doubtful columns come first."""
    from plotly.subplots import make_subplots

    usable = columns[columns["column"].isin(histograms["column"])]
    doubts = usable.assign(order=usable["doubtful"] == "").sort_values("order", kind="stable")
    chosen = doubts.head(shown)
    across = min(4, len(chosen))
    titles = [
        f"{line.validation_id}{'<br>' + str(line.doubtful) if line.doubtful else ''}"
        for line in chosen.itertuples()
    ]
    down = -(-len(chosen) // across)
    figure = make_subplots(rows=down, cols=across, subplot_titles=titles)
    for place, column in enumerate(chosen["column"]):
        part = histograms[histograms["column"] == column]
        middle = (part["low"] + part["high"]) / 2
        where = {"row": place // across + 1, "col": place % across + 1}
        figure.add_bar(x=middle, y=part["count"], marker_color="#4c78a8", **where)
        figure.add_scatter(
            x=middle, y=part["normal"], mode="lines", line={"color": "#e45756"}, **where
        )
    figure.update_annotations(font_size=11)
    figure.update_layout(
        **(_LAYOUT | {"height": 220 * down + 100, "margin": {"l": 60, "r": 20, "t": 100, "b": 50}}),
        title="Columns (z-scores) against the normal curve",
        showlegend=False,
        bargap=0,
    )
    return figure


def left_out(stability: pd.DataFrame, *, what: str = "task") -> Figure:
    """Bars: the share of the picks that stay when one task (instance, checkpoint) is left out."""
    figure = _figure(f"Selection with one {what} left out", what, "picks that stay")
    figure.add_bar(x=stability["left_out"].astype(str), y=stability["share_kept"])
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return figure


def figures(analysis: Analysis) -> dict[str, Figure]:
    """Return every figure that the analysis has the tables for, by name, in reading order."""
    tables = analysis.tables
    made = {
        "aid": aid_by_task(tables["aid_tasks"]),
        "aid_raw": aid_by_task(tables["aid_tasks"], value="aid"),
        "thi": thi_by_task(tables["thi"]),
        "thi_instance": thi_by_task(tables["thi"], by="by_instance"),
    }
    if "along_picks" in tables:
        pairs = tables["along_picks"][["set", "kind"]].drop_duplicates()
        for name, kind in pairs.itertuples(index=False):
            made[f"{kind}_{name}"] = along_picks(tables["along_picks"], set_name=name, kind=kind)
    optional: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "utility": utility_curves,
        "overlap": overlap_curves,
    }
    for what in ("task", "instance", "checkpoint"):
        optional[f"without_{what}"] = partial(left_out, what=what)
    made |= {name: make(tables[name]) for name, make in optional.items() if name in tables}
    made["columns"] = column_histograms(tables["histograms"], tables["columns"])
    return made


def write_page(analysis: Analysis, path: Path) -> None:
    """Write all figures into one HTML file that needs nothing from the network."""
    made = figures(analysis)
    parts = [
        f"<section id='{html.escape(name)}'>"
        + figure.to_html(full_html=False, include_plotlyjs="inline" if place == 0 else False)
        + "</section>"
        for place, (name, figure) in enumerate(made.items())
    ]
    links = " · ".join(
        f"<a href='#{html.escape(name)}'>{html.escape(str(figure.layout.title.text))}</a>"
        for name, figure in made.items()
    )
    facts = analysis.facts
    head = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Analysis</title>"
        "<style>body{font-family:sans-serif;max-width:70rem;margin:2rem auto}"
        "nav{line-height:1.8}</style></head>"
    )
    title = (
        f"<h1>Analysis of a selection</h1><p>{facts['rows']:,} training rows, {facts['columns']:,} "
        f"validation instances, {len(facts['doubtful'])} of them doubtful for a z-score.</p>"
        f"<nav>{links}</nav>"
    )
    path.write_text(f"{head}<body>{title}{''.join(parts)}</body></html>", encoding="utf-8")


def _figure(title: str, x: str, y: str) -> Figure:
    from plotly.graph_objects import Figure

    return Figure(layout=_LAYOUT | {"title": title, "xaxis_title": x, "yaxis_title": y})
