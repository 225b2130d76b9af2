"""A selection method of your own: copy this file next to your bids.yaml, and change it.

    selection:
      method: methods.py:top_mean        # or in `compare`, with others

It is tried on a few of your rows before anything is computed (`bids check bids.yaml`), its file is
part of the selection's fingerprint, and results show it under the function's name. On your own
matrix: `bids select A.npy --budget 0.1 --method methods.py:top_mean`. docs/extend.md has the rest.

Shapes: N training rows, M validation instances (columns), B budget.
"""

import numpy as np

from bids_core.normalization import normalize
from bids_core.selection import Picks, Request, selection_method

K = 3


@selection_method(
    what="highest mean over the three instances that a row helps most", normalized=True
)
def top_mean(request: Request) -> Picks:
    """Score = mean of a row's three highest normalised influences; the highest scores are picked.

    Args:
        request: `matrix` [N, M], `budget` B, `normalization`, `seed`; the M `tasks` and `subtasks`
            and the N `sources`; texts, hidden states or perplexities if `needs` asks for them.

    Returns:
        B different rows, best first. Row numbers alone are enough; `Picks` also records the value
        of each pick and which validation instance (column) decided it.
    """
    z_NM = normalize(request.matrix, request.normalization)
    z_NM = np.nan_to_num(z_NM, nan=-np.inf)  # columns without spread: all rows are equal there
    order_NK = np.argsort(-z_NM, axis=1, kind="stable")[:, : min(K, request.n_columns)]
    best_NK = np.take_along_axis(z_NM, order_NK, axis=1)
    score_N = np.where(np.isfinite(best_NK), best_NK, 0.0).mean(axis=1)
    rows = np.argsort(-score_N, kind="stable")[: request.budget]
    return Picks(rows, score_N[rows], order_NK[rows, 0])
