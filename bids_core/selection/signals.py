"""Methods that need no influence: similarity of texts or of representations.

Shapes: N training rows, M validation instances, H hidden size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bids_core.influence.matrix import Matrix
from bids_core.selection.lexical import bm25_scores, dsir_log_weights
from bids_core.selection.methods import selection_method
from bids_core.selection.result import NO_COLUMN, Picks
from bids_core.selection.round_robin import round_robin
from bids_core.selection.scoring import highest, less
from bids_core.selection.similarity import cosine_similarity

if TYPE_CHECKING:
    from bids_core.selection.request import Request


@selection_method(
    what="highest BM25 against validation texts", label="BM25", needs="texts", labels=("tasks",)
)
def bm25(request: Request) -> Picks:
    """Rank by BM25 with the validation texts as queries, aggregated over tasks like LESS.

    Source: LESS (arXiv 2402.04333), section 4.1.
    """
    return less(replace(request, attribution=Matrix(bm25_scores(*request.need_texts()))))


@selection_method(what="n-gram importance resampling", label="DSIR", seeded=True, needs="texts")
def dsir(request: Request) -> Picks:
    """Draw rows without replacement in proportion to their importance weights.

    Adds seeded Gumbel noise to the log weights and takes the highest; the utility is the noisy log
    weight. Nested in the budget for a fixed seed. Source: DSIR (arXiv 2302.03169), algorithm 1.
    """
    weights = dsir_log_weights(*request.need_texts())
    noise = np.random.default_rng(request.seed).gumbel(size=len(weights))
    rows = highest(weights + noise, request.budget)
    columns = np.full(len(rows), NO_COLUMN, dtype=np.int64)
    return Picks(rows, (weights + noise)[rows], columns)


@selection_method(what="closest last-token states", label="RDS", needs="rds", labels=("tasks",))
def rds(request: Request) -> Picks:
    """Rank by cosine of representations, aggregated over tasks like LESS.

    For last-token hidden states (`bids_core.gradients.pooling.last_token`). Source: LESS (arXiv
    2402.04333), section 4.1, after arXiv 1801.03924.
    """
    return less(replace(request, attribution=_similarity(request)))


@selection_method(
    what="instances take turns by weighted mean states", label="RDS+", needs="rds_plus"
)
def rds_plus(request: Request) -> Picks:
    """Each validation instance in turn takes the row with the most similar representation.

    For position-weighted mean hidden states (`bids_core.gradients.pooling.weighted_mean`). Source:
    RDS+ (arXiv 2503.01807).
    """
    return round_robin(replace(request, attribution=_similarity(request)))


def _similarity(request: Request) -> Matrix:
    return Matrix(cosine_similarity(*request.need_representations()))
