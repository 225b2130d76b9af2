"""What an analysis and an explanation say of themselves, as text and in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from bids_core.diagnostics.analysis import Analysis
    from bids_core.diagnostics.explain import Explanation


def explanation_text(found: Explanation) -> str:
    """Return an explanation as a few lines of text."""
    lines = [_verdict(found)]
    lines += [
        f"  {task.task}: normalised influence {task.normalized:.2f}, above "
        f"{task.percentile:.1f}% of the pool"
        for task in found.tasks
    ]
    if found.instead is not None:
        entering = ", ".join(found.entering) or "no row"
        lines.append(
            f"without it, {found.instead} takes its rank and the selection gains {entering}"
        )
    return "\n".join(lines)


def explanation_html(found: Explanation) -> str:
    """Return an explanation as a notebook shows it."""
    tasks = pd.DataFrame(
        {
            "task": [t.task for t in found.tasks],
            "influence": [t.influence for t in found.tasks],
            "normalised": [t.normalized for t in found.tasks],
            "above so much of the pool": [f"{t.percentile:.1f}%" for t in found.tasks],
        }
    )
    instances = pd.DataFrame(
        {
            "validation instance": [i.validation_id for i in found.instances],
            "task": [i.task for i in found.instances],
            "influence": [i.influence for i in found.instances],
            "normalised": [i.normalized for i in found.instances],
        }
    ).dropna(axis="columns", how="all")
    tail = explanation_text(found).splitlines()[-1] if found.instead is not None else ""
    return (
        f"<p><b>{escape(_verdict(found))}</b></p>{table_html(tasks)}"
        f"<p>The validation instances that it influences most:</p>{table_html(instances)}"
        f"<p>{escape(tail)}</p>"
    )


def _verdict(found: Explanation) -> str:
    if found.rank is None:
        worth = "" if found.utility is None else f", worth {found.utility:.3f} after the last pick"
        return (
            f"{found.row_id}: not among the {found.picks:,} picks{worth} "
            f"(the last pick was worth {found.last_utility:.3f})"
        )
    winner = ""
    if found.winner is not None:
        task = f" of {found.winner.task}" if found.winner.task else ""
        winner = f", for validation instance {found.winner.validation_id}{task}"
    return (
        f"{found.row_id}: pick {found.rank:,} of {found.picks:,}, worth {found.utility:.3f}{winner}"
    )


def analysis_text(analysis: Analysis) -> str:
    """Return one line about an analysis."""
    facts = analysis.facts
    sets = ", ".join(f"{name} ({count:,})" for name, count in facts["sets"].items())
    return (
        f"<Analysis of {facts['rows']:,} rows x {facts['columns']:,} validation instances: {sets}; "
        f"tables {', '.join(analysis.tables)}>"
    )


def analysis_html(analysis: Analysis) -> str:
    """Return what a notebook shows of an analysis: influence and rows of each task, by set."""
    facts = analysis.facts
    aid = analysis.tables["aid_tasks"].pivot(index="task", columns="set", values="normalized_aid")
    counts = analysis.tables["thi"].pivot(index="task", columns="set", values="by_task_mean")
    order = list(facts["sets"])
    tasks = list(dict.fromkeys(analysis.tables["aid_tasks"]["task"]))
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
    """Return a frame as HTML, numbers with three decimals."""
    shown = frame.rename_axis(columns=None)
    html: str = shown.to_html(index=False, border=0, float_format="{:.3f}".format)
    return html
