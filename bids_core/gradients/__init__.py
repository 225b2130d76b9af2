"""Per-example gradient features: exact, batched, projected, stored.

In reading order: `parameters` (what is trainable and where it lies), `loss`, `capture` and `plan`
(how a batched backward pass gives each example's gradient), `engine`, `optimizer_update` (Adam),
`hashing` and `projection`, `extraction` and `features` (a shard's work), `store` (Zarr). `ekfac`
(before the projection) and `fisher` (after it) measure gradients in the curvature of the loss.
"""

from bids_core.gradients.aligned import align
from bids_core.gradients.ekfac import Ekfac
from bids_core.gradients.engine import per_example_gradients, stream_gradients
from bids_core.gradients.extraction import validation_feature
from bids_core.gradients.features import Features, compute_features
from bids_core.gradients.fisher import FisherMetric
from bids_core.gradients.optimizer_update import adam_update
from bids_core.gradients.parameters import n_trainable, trainable_slots
from bids_core.gradients.pooling import last_token, weighted_mean
from bids_core.gradients.projection import Projector, make_projector
from bids_core.gradients.store import GradientStore, open_store, write_shard

__all__ = [
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
