"""How well scores find the wrong answers: precision at k, and the area under the ROC curve.

Shapes: N pool rows, M validation instances, K tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from bids_core.normalization import normalize

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from controlled_lab.evidence import Evidence
    from controlled_lab.pools import Pool

Floats = "npt.NDArray[np.float64]"


def suspicion(matrix_NM: npt.NDArray[np.float32], tasks: list[str], losses: Floats) -> Any:
    """Return scores by name, [N] each: the higher, the more likely the answer is wrong."""
    z_NM = normalize(matrix_NM)
    names = list(dict.fromkeys(tasks))
    columns = [[place for place, task in enumerate(tasks) if task == name] for name in names]

    def means(values: Floats) -> Floats:
        return np.stack([values[:, part].mean(1) for part in columns], axis=1)

    raw_NK, z_NK = means(matrix_NM.astype(np.float64)), means(z_NM)
    return {
        "lowest mean influence": -raw_NK.mean(1),
        "lowest mean z": -z_NK.mean(1),
        "most tasks harmed": (raw_NK < 0).sum(1) - rankdata(raw_NK.mean(1)) / (2 * len(raw_NK)),
        "lowest best task (raw)": -raw_NK.max(1),
        "lowest best task (z)": -z_NK.max(1),
        "lowest worst task (raw)": -raw_NK.min(1),
        "lowest worst task (z)": -z_NK.min(1),
        "highest loss before training": losses,
    }


def audit_rows(pool: Pool, evidence: Evidence) -> list[dict[str, Any]]:
    """Return each score's precision at 10, 50 and k, the number of wrong rows; empty if k is 0."""
    wrong = np.array([row.kind == "wrong" for row in pool.rows])
    if not wrong.any():
        return []
    found = []
    scores = suspicion(evidence.matrices["adam"], evidence.instance_tasks, evidence.losses)
    # An audit of answers is not about off-target rows, so it is also judged without them.
    on_target = np.array([row.task in pool.targets for row in pool.rows])
    for name, values in scores.items():
        for among, rows in (("all rows", np.ones_like(wrong)), ("target rows", on_target)):
            truth, score = wrong[rows], values[rows]
            order = np.argsort(-score, kind="stable")
            ranks = rankdata(score)
            n_wrong = int(truth.sum())
            above = ranks[truth].sum() - n_wrong * (n_wrong + 1) / 2
            found.append(
                {
                    "score": name,
                    "among": among,
                    "share_wrong": float(truth.mean()),
                    "precision_at_10": float(truth[order[:10]].mean()),
                    "precision_at_50": float(truth[order[:50]].mean()),
                    "precision_at_all": float(truth[order[:n_wrong]].mean()),
                    "auc": float(above / (n_wrong * (len(truth) - n_wrong))),
                }
            )
    return found
