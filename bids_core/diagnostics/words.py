"""How analyses and explanations appear as text and in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from bids_core.diagnostics.inferred import Inferred

if TYPE_CHECKING:
    from collections.abc import Mapping


def explanation_text(found: Mapping[str, Any]) -> str:
    """Return an explanation (from `Explanation.to_dict`) as a few lines of text."""
    task_line = (
        "  {task}: normalised influence {normalized:.2f}, above {percentile:.1f}% of the pool"
    )
    lines = [_verdict(found), *(task_line.format(**task) for task in found["tasks"])]
    return "\n".join([*lines, *_without(found), *_inferred(found)])


def explanation_html(found: Mapping[str, Any]) -> str:
    """Return an explanation as HTML for notebooks."""
    tasks = pd.DataFrame(found["tasks"]).rename(
        columns={"normalized": "normalised", "percentile": "above % of the pool"}
    )
    instances = pd.DataFrame(found["instances"]).drop(columns="column")
    instances = instances.rename(
        columns={"validation_id": "validation instance", "normalized": "normalised"}
    )
    return (
        f"<p><b>{escape(_verdict(found))}</b></p>{table_html(tasks)}"
        "<p>The validation instances that it influences most:</p>"
        f"{table_html(instances.dropna(axis='columns', how='all'))}"
        + "".join(f"<p>{escape(line)}</p>" for line in [*_without(found), *_inferred(found)])
    )


def _verdict(found: Mapping[str, Any]) -> str:
    name, rank, worth = found["row_id"], found["rank"], found["utility"]
    if rank is None:
        after = "" if worth is None else f", worth {worth:.3f} after the last pick"
        return (
            f"{name}: not among the {found['picks']:,} picks{after} "
            f"(the last pick was worth {found['last_utility']:.3f})"
        )
    winner = found["winner"]
    line = f"{name}: pick {rank:,} of {found['picks']:,}, worth {worth:.3f}"
    if winner is None:
        return line
    task = f" of {winner['task']}" if winner["task"] else ""
    return f"{line}, for validation instance {winner['validation_id']}{task}"


def _without(found: Mapping[str, Any]) -> list[str]:
    if found["instead"] is None:
        return []
    entering = ", ".join(found["entering"]) or "no row"
    return [f"without it, {found['instead']} takes its rank and the selection gains {entering}"]


def _inferred(found: Mapping[str, Any]) -> list[str]:
    inferred = found.get("inferred")
    return [] if inferred is None else [Inferred(**inferred).words()]


def analysis_text(facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Return one line about an analysis."""
    sets = ", ".join(f"{name} ({count:,})" for name, count in facts["sets"].items())
    return (
        f"<Analysis of {facts['rows']:,} rows x {facts['columns']:,} validation instances: {sets}; "
        f"tables {', '.join(tables)}>"
    )


def analysis_html(facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Return an analysis as HTML for notebooks: influence on and rows for each task, by set."""
    aid = tables["aid_tasks"].pivot(index="task", columns="set", values="normalized_aid")
    counts = tables["thi"].pivot(index="task", columns="set", values="by_task_mean")
    order = list(facts["sets"])
    tasks = list(dict.fromkeys(tables["aid_tasks"]["task"]))
    spread = ", ".join(f"{name} {value:.3f}" for name, value in facts["imbalance"].items())
    doubtful = len(facts["doubtful"]) + len(facts["left_out"])
    return (
        f"<p><b>Analysis</b>: {facts['rows']:,} rows, {facts['columns']:,} validation instances "
        f"({doubtful} constant or doubtful)</p>"
        f"<p>Normalised average influence (AID) on each task:</p>"
        f"{table_html(aid.loc[tasks, order].reset_index())}"
        f"<p>Rows that influence each task most (THI):</p>"
        f"{table_html(counts.reindex(tasks)[order].reset_index())}"
        f"<p>Imbalance of AID between tasks: {escape(spread)}</p>"
    )


def table_html(frame: pd.DataFrame) -> str:
    """Return a frame as HTML, with numbers to three decimals."""
    shown = frame.rename_axis(columns=None)
    html: str = shown.to_html(index=False, border=0, float_format="{:.3f}".format)
    return html
