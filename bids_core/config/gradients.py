"""Per-example gradient features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bids_core.config.section import PositiveInt, Section


class GradientConfig(Section):
    """Per-example gradient features and their random projection."""

    train_feature: Literal["adam", "sgd", "sign", "ekfac", "rds", "rds_plus"] = "adam"
    """Feature of a training example: Adam update direction (LESS), plain gradient, or its sign;
    or, for both sides, the gradient in an EK-FAC metric, or hidden states (`rds` last token,
    `rds_plus` weighted mean)."""
    metric: Literal["cosine", "dot", "fisher"] = "cosine"
    """How features are compared: plain cosines (LESS), dot products (TracIn), or cosines in the
    Fisher metric of the training features (TRAK's kernel; meant for `sgd`)."""
    keep_checkpoints: bool = True
    """Keep each checkpoint's own influence beside the weighted sum, to see whether they agree."""
    damping: float = Field(default=0.1, gt=0.0)
    """Share of the Fisher matrix's mean eigenvalue that is added to all of them (`fisher`,
    `ekfac`)."""
    adam_mode: Literal["less_code", "paper"] = "less_code"
    """m'/sqrt(v'+eps) as LESS's code runs, or bias-corrected m'/(sqrt(v')+eps) as its paper has."""
    projection: Literal["rademacher", "sjlt", "srht", "none"] = "sjlt"
    """Kind of random projection; `rademacher` is the papers', equally exact and far slower (see
    docs/projection.md)."""
    dim: PositiveInt = 8192
    """Projected dimension P."""
    storage: Literal["float16", "float32", "int8"] = "float16"
    """Dtype in which unit rows are stored; int8 halves the store again at a small error."""
    on_nonfinite: Literal["error", "reject"] = "error"
    """A NaN or infinite gradient: stop and name the rows, or list them as rejects."""
    tokens_per_batch: PositiveInt = 2048
    """Padded tokens in one batch; halved by itself when memory runs out."""
    rows_per_shard: PositiveInt = 2048
    """Rows of one shard, the unit of work, of retry and of resume."""
