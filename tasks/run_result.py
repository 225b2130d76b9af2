"""The handles of a run's artifacts, as far as it went."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Handle
from tasks.attribution import CheckpointGradients


class RunResult(BaseModel):
    """The handles of a run's artifacts, as far as it went."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of the run."""
    started: datetime.datetime
    """When it started (UTC); older artifacts were reused."""
    data: Handle | None = None
    """Prepared data."""
    warm: Handle | None = None
    """Warmup checkpoints."""
    screen: Handle | None = None
    """The rows of the pool that got gradients, if not all did."""
    gradients: tuple[CheckpointGradients, ...] = ()
    """Gradient shards by checkpoint."""
    matrix: Handle | None = None
    """Attribution matrix."""
    selections: dict[str, Handle] = {}
    """Picks by method."""
    analysis: Handle | None = None
    """Analysis of the selections."""
    tuned: dict[str, Handle] = {}
    """Adapters by method."""
    scores: dict[str, Handle] = {}
    """Evaluations by method; `zero_shot` is the base model."""
    folder: Path | None = None
    """The run folder."""
    artifacts: tuple[str, ...] = ()
    """Keys of every artifact that the run refers to, including nested ones."""

    def with_stage(self, **handles: Any) -> RunResult:
        """Return a copy with more handles."""
        return self.model_copy(update=handles)

    def stages(self) -> dict[str, Handle]:
        """Return every artifact under a display name, in pipeline order."""
        single = {"prepare": self.data, "warmup": self.warm, "screen": self.screen}
        named = {name: handle for name, handle in single.items() if handle is not None}
        for number, part in enumerate(self.gradients, start=1):  # those of the checkpoints used
            for split, shards in (("train", part.train), ("validation", part.validation)):
                for index, shard in enumerate(shards):
                    named[f"gradients checkpoint {number} {split} shard {index}"] = shard
        if self.matrix is not None:
            named["attribution"] = self.matrix
        for stage, handles in (
            ("selection", self.selections),
            ("finetune", self.tuned),
            ("evaluation", self.scores),
        ):
            named |= {f"{stage} {method}": handle for method, handle in handles.items()}
            if stage == "selection" and self.analysis is not None:
                named["analysis"] = self.analysis
        return named
