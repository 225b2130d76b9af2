"""The work of a GPU worker: a group of gradient shards of one checkpoint.

The parent (see `flows.dispatch`) groups shards so that a flow run is worth its startup time. Each
shard is its own artifact, so a group that dies loses at most the current shard, and shards already
in the store are not computed again.
"""

from __future__ import annotations

from prefect import flow

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.config import RunConfig
from flows.admission import admit
from flows.cancelling import cancellable
from flows.dispatch.worker import telling_failures
from tasks.gradients import Shard, run_gradient_shard
from tasks.runtime.run_logs import run_logs


@flow(name="gradient-shards", validate_parameters=True, persist_result=False)
def gradient_shards(
    config: RunConfig, data: Handle, warm: Handle, shards: tuple[Shard, ...]
) -> tuple[Handle, ...]:
    """Compute gradient shards.

    Args:
        config: the whole configuration of the requesting run.
        data: its prepared data.
        warm: its warmup checkpoints.
        shards: the shards to compute, all of one checkpoint.
    """
    with cancellable(), run_logs(), telling_failures(config):
        admit(config, data, warm)
        return tuple(
            run_gradient_shard(config, data, warm, shard)
            for shard in _in_hand_last(config, data, warm, shards)
        )


def _in_hand_last(
    config: RunConfig, data: Handle, warm: Handle, shards: tuple[Shard, ...]
) -> list[Shard]:
    """Put shards that another run is computing last: they may be done by then."""
    store = ArtifactStore(config.store)

    def in_hand(shard: Shard) -> bool:
        identity = run_gradient_shard.identify(config, data, warm, shard)
        handle = store.handle(identity.stage, identity.fingerprint)
        return store.get(identity) is None and store.sign_of_life(handle) is not None

    return sorted(shards, key=in_hand)
