"""Per-example gradient features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from bids_core.config.choices import FEATURES, TrainFeature
from bids_core.config.effects import Changes, Effect, NoEffect
from bids_core.config.section import PositiveInt, Section


def _feature_reads(option: str) -> Callable[[Any], bool]:
    """Return a function that tells whether a section's training feature reads a field."""

    def reads(section: Any) -> bool:
        return option in FEATURES.entries[section.train_feature].options

    return reads


def _fewer_layers(section: Any) -> bool:
    """Return whether a section takes gradients in the last layers only."""
    takes_gradients = not FEATURES.entries[section.train_feature].hidden_states
    return section.layers is not None and takes_gradients


class GradientConfig(Section):
    """Per-example gradient features and their random projection."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("gradients", "steps"),)

    train_feature: TrainFeature = "adam"
    """Feature of a training example. Validation instances get the plain gradient with `adam` and
    `sign`, and the same feature with all others."""
    checkpoints: Annotated[
        tuple[PositiveInt, ...] | None,
        Changes("attribution", when=lambda section: section.checkpoints is not None),
    ] = None
    """Warmup checkpoints to compute gradients at, numbered from 1; each costs a pass over the pool
    (docs/cheaper.md). null: all."""
    layers: Annotated[
        PositiveInt | None,
        Changes("gradients", "curvature", "steps", when=_fewer_layers),
    ] = None
    """Compute gradients only in the last N decoder layers, where the backward pass then stops:
    cheaper and less exact (docs/gradients.md). null: all layers."""
    metric: Annotated[Literal["cosine", "dot", "fisher"], Changes("attribution", "steps")] = (
        "cosine"
    )
    """How features are compared: plain cosines (LESS), dot products (TracIn), or cosines in the
    Fisher metric of the training features (TRAK's kernel; meant for `sgd`)."""
    keep_checkpoints: Annotated[bool, Changes("attribution")] = True
    """Keep each checkpoint's influence as well as the weighted sum, to see whether checkpoints
    agree."""
    damping: Annotated[
        float,
        Changes("gradients", "steps", when=_feature_reads("damping")),
        Changes("attribution", when=lambda section: section.metric == "fisher"),
    ] = Field(default=0.1, gt=0.0)
    """Damping of the Fisher matrix: this fraction of its mean eigenvalue is added to all
    eigenvalues (`fisher`, `ekfac`)."""
    adam_mode: Annotated[
        Literal["less_code", "paper"],
        Changes("gradients", "steps", when=_feature_reads("adam_mode")),
    ] = "less_code"
    """m'/sqrt(v'+eps) as in LESS's code, or bias-corrected m'/(sqrt(v')+eps) as in its paper."""
    projection: Literal["rademacher", "sjlt", "srht", "none"] = "sjlt"
    """Kind of random projection; `rademacher` is the papers' choice, equally accurate but far
    slower (see docs/projection.md)."""
    dim: Annotated[
        PositiveInt,
        Changes("gradients", "steps", when=lambda section: section.projection != "none"),
    ] = 8192
    """Projected dimension P."""
    storage: Annotated[
        Literal["float16", "float32", "int8"], Changes("gradients", "representations", "steps")
    ] = "float16"
    """Dtype of the stored unit-norm rows; int8 halves the store again, with a small error."""
    on_nonfinite: Literal["error", "reject"] = "error"
    """If a gradient is NaN or infinite: stop and name the rows, or list them as rejects."""
    tokens_per_batch: Annotated[PositiveInt, NoEffect("only the speed")] = 2048
    """Padded tokens in one batch; halved automatically when memory runs out."""
    rows_per_shard: Annotated[
        PositiveInt, NoEffect("where shards are split; a shard's rows are part of its inputs")
    ] = 2048
    """Rows per shard, the unit of work, retry and resume."""

    @field_validator("checkpoints")
    @classmethod
    def _checkpoints_in_order(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        if not value:
            msg = "an empty list leaves no checkpoint; leave it out for all of them"
            raise ValueError(msg)
        if len(set(value)) != len(value):
            msg = f"{list(value)} names a checkpoint twice"
            raise ValueError(msg)
        return tuple(sorted(value))
