"""The name of a result: a hash of everything that can change it, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Identity:
    """What a stage's result is made from.

    Args:
        stage: name of the stage, which is also the result's folder in the store.
        version: algorithm version of the stage; raise it when its results change.
        config: the values that can change the result, JSON-serialisable.
        inputs: fingerprints or content digests of what the stage reads.
        seed: for the record only; where it can change the result, `config` has it too.
        uses: keys of the artifacts that the stage reads; they are kept as long as this one is.
    """

    stage: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: int | None = None
    uses: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Name of the result within its stage."""
        return fingerprint(self.stage, version=self.version, config=self.config, inputs=self.inputs)

    @property
    def key(self) -> str:
        """Path of the result within a store."""
        return f"{self.stage}/{self.fingerprint}"


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
