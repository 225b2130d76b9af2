"""What names a result: a hash of all that can change it, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def fingerprint(
    stage: str, *, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]
) -> str:
    """Return the name under which a stage's result is stored.

    Args:
        stage: name of the stage.
        version: algorithm version of the stage; raise it when its results change.
        config: the values that can change the result, JSON-serialisable.
        inputs: fingerprints or content digests of what the stage reads.

    Returns:
        32 hexadecimal digits of a SHA-256.
    """
    spec = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = json.dumps(spec, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
