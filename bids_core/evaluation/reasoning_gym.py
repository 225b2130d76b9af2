"""Scorer for rows of reasoning-gym: `scorer: bids_core.evaluation.reasoning_gym:score`.

The rows are reasoning-gym's own entries written as JSON: `question`, `answer`, and `metadata` with
`source_dataset`, the name of the data set whose verifier judges.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import reasoning_gym

if TYPE_CHECKING:
    from collections.abc import Mapping

__version__ = version("reasoning-gym")


def score(generation: str, row: Mapping[str, Any]) -> float:
    """Return what the data set's own verifier says, from 0 to 1.

    An answer that it cannot read (some raise) is a wrong one.

    Raises:
        KeyError: the row has no metadata of reasoning-gym.
    """
    verifier = reasoning_gym.get_score_answer_fn(row["metadata"]["source_dataset"])
    try:
        found = verifier(answer=generation.strip(), entry=row)
    except Exception:
        if generation.strip() == row["answer"]:
            raise
        return 0.0
    return float(min(1.0, max(0.0, found)))
