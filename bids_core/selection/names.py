"""What methods are called in front of people."""

from __future__ import annotations

from typing import Final

ZERO_SHOT: Final = "zero_shot"
"""Name under which the base model without training stands beside the methods."""
POOL: Final = "pool"
"""Name under which the whole training pool stands beside the selections."""

_LABELS: Final = {
    "bids": "BIDS",
    "less": "LESS",
    "instance_max": "instance-max",
    "random": "random",
    "full": "full pool",
    "bm25": "BM25",
    "dsir": "DSIR",
    "rds": "RDS",
    "rds_plus": "RDS+",
    POOL: "pool",
    ZERO_SHOT: "zero-shot",
}


def method_label(method: str) -> str:
    """Return what a method is called on the page."""
    return _LABELS.get(method, method.replace("_", " "))
