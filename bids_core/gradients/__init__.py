"""Per-example gradient features: exact, batched, projected, stored.

In reading order: `training_features` (the table of features), `parameters` (what is trainable and
where it is), `loss`, `capture` and `plan` (how a batched backward pass gives each example's
gradient), `engine`, `optimizer_update` (Adam), `hashing` and `projection`, `extraction` and
`features` (a shard's work), `store` (Zarr). `ekfac` (before the projection) and `fisher` (after it)
measure gradients in the curvature of the loss.

The names below are imported when first used, so that the table can be read without torch and
transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bids_core.gradients.training_features import TRAINING_FEATURES, validation_feature

if TYPE_CHECKING:
    from bids_core.gradients.aligned import align
    from bids_core.gradients.ekfac import Ekfac
    from bids_core.gradients.engine import per_example_gradients, stream_gradients
    from bids_core.gradients.features import Features, compute_features
    from bids_core.gradients.fisher import FisherMetric
    from bids_core.gradients.optimizer_update import adam_update
    from bids_core.gradients.parameters import n_trainable, trainable_slots
    from bids_core.gradients.pooling import last_token, weighted_mean
    from bids_core.gradients.projection import Projector, make_projector
    from bids_core.gradients.store import GradientStore, open_store, write_shard

_HOMES = {
    "Ekfac": "ekfac", "Features": "features", "FisherMetric": "fisher", "GradientStore": "store",
    "Projector": "projection", "adam_update": "optimizer_update", "align": "aligned",
    "compute_features": "features", "make_projector": "projection", "n_trainable": "parameters",
    "open_store": "store", "per_example_gradients": "engine", "stream_gradients": "engine",
    "write_shard": "store", "trainable_slots": "parameters", "last_token": "pooling",
    "weighted_mean": "pooling",
}  # fmt: skip

__all__ = [
    "TRAINING_FEATURES",
    "Ekfac",
    "Features",
    "FisherMetric",
    "GradientStore",
    "Projector",
    "adam_update",
    "align",
    "compute_features",
    "last_token",
    "make_projector",
    "n_trainable",
    "open_store",
    "per_example_gradients",
    "stream_gradients",
    "trainable_slots",
    "validation_feature",
    "weighted_mean",
    "write_shard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
