"""The methods by name, and what each is called with.

Shapes: see `bids_core.selection.request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from bids_core.influence.normalization import prepare
from bids_core.selection import round_robin, scoring, signals, transport
from bids_core.selection.bids import pick_iteratively

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_core.selection.request import Request
    from bids_core.selection.result import Picks


Needs = Literal["influence", "nothing", "texts", "rds", "rds_plus", "perplexities"]
"""What a method works on: `rds` and `rds_plus` are representations, pooled in that way."""


@dataclass(frozen=True)
class Method:
    """One selection method.

    Args:
        run: makes the picks.
        what: one line for people.
        normalized: whether it uses `normalization`; the others are defined on raw influence.
        seeded: whether the seed changes its result.
        needs: what it works on.
    """

    run: Callable[[Request], Picks]
    what: str
    normalized: bool = False
    seeded: bool = False
    needs: Needs = "influence"


def _bids(request: Request) -> Picks:
    matrix, scale = prepare(request.matrix, request.normalization)
    return pick_iteratively(matrix, scale, request.budget, progress=request.progress)


METHODS: Final[dict[str, Method]] = {
    "bids": Method(_bids, "the row that helps the least served instance most", normalized=True),
    "instance_max": Method(
        scoring.instance_max, "highest normalised influence on any instance", normalized=True
    ),
    "less": Method(scoring.less, "highest mean influence on any subtask (LESS)"),
    "task_max": Method(scoring.task_max, "highest summed influence on any task"),
    "sum": Method(scoring.total, "highest influence summed over all instances"),
    "round_robin": Method(round_robin.round_robin, "instances take turns"),
    "round_robin_tasks": Method(
        round_robin.round_robin_tasks, "tasks take turns, by mean influence"
    ),
    "quota": Method(round_robin.quota, "an equal share per task, by LESS score"),
    "knn_uniform": Method(transport.knn_uniform, "most often among instances' nearest rows (TSDS)"),
    "optimal_transport": Method(
        transport.optimal_transport, "most mass in an unbalanced transport plan"
    ),
    "random": Method(scoring.random, "uniformly at random", seeded=True, needs="nothing"),
    "random_balanced": Method(
        round_robin.random_balanced, "at random, sources in turn", seeded=True, needs="nothing"
    ),
    "full": Method(scoring.full, "the whole pool, whatever the budget", needs="nothing"),
    "bm25": Method(signals.bm25, "highest BM25 against validation texts", needs="texts"),
    "dsir": Method(signals.dsir, "n-gram importance resampling", seeded=True, needs="texts"),
    "rds": Method(signals.rds, "closest last-token states", needs="rds"),
    "rds_plus": Method(
        signals.rds_plus, "instances take turns by weighted mean states", needs="rds_plus"
    ),
    "perplexity": Method(scoring.perplexity("mid"), "middle perplexity", needs="perplexities"),
    "perplexity_low": Method(scoring.perplexity("low"), "lowest perplexity", needs="perplexities"),
    "perplexity_high": Method(
        scoring.perplexity("high"), "highest perplexity", needs="perplexities"
    ),
}
"""Methods by the names that users type."""
