"""Scorer for rows from reasoning-gym: `scorer: bids_core.evaluation.reasoning_gym:score`.

The rows are reasoning-gym's own entries written as JSON: `question`, `answer`, and `metadata` with
`source_dataset`, the name of the dataset whose verifier scores the answer.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import reasoning_gym

if TYPE_CHECKING:
    from collections.abc import Mapping

__version__ = version("reasoning-gym")


def score(generation: str, row: Mapping[str, Any]) -> float:
    """Return the score of the dataset's own verifier, from 0 to 1.

    An answer that it cannot parse (some verifiers raise) is wrong.

    Raises:
        KeyError: the row has no reasoning-gym metadata.
    """
    verifier = reasoning_gym.get_score_answer_fn(row["metadata"]["source_dataset"])
    try:
        found = verifier(answer=generation.strip(), entry=row)
    except Exception:
        if generation.strip() == row["answer"]:
            raise
        return 0.0
    return float(min(1.0, max(0.0, found)))
