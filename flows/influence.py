"""From a warmup to the influence matrix: with the gradients of all rows, or in a cheaper way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.artifacts import ArtifactStore
from flows.spread import all_gradients
from tasks.attribution import CheckpointGradients, run_attribution
from tasks.gradients import plan_shards
from tasks.inference import run_inference
from tasks.prepare import load_prepared
from tasks.representations import (
    Representations,
    poolings,
    release_base,
    run_representation_shard,
)
from tasks.screen import run_sample, run_screen, states_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig


@dataclass(frozen=True)
class Rows:
    """The rows that get gradients.

    Args:
        data: prepared data with these rows as its pool.
        screen: the artifact that chose them; None if they are the whole pool.
        states: hidden states from which influence is inferred afterwards; None if it is not.
    """

    data: Handle
    screen: Handle | None = None
    states: dict[str, Representations] | None = None


def rows_with_gradients(config: RunConfig, data: Handle, warm: Handle) -> Rows:
    """Decide which rows get gradients: all, or those kept by a screen or as landmarks.

    Args:
        config: the run.
        data: its prepared data.
        warm: its warmup, for the landmarks' influence if rows are screened by it.
    """
    if config.screen.by is None and config.landmarks.rows is None:
        return Rows(data)
    states = all_representations(config, data, states_method(config))
    inferred = None
    if config.landmarks.rows is not None:
        part = run_sample(config, data, config.landmarks.rows)
        rows = Rows(part, part, states)
        if config.screen.by is None:
            return rows
        inferred = matrix_of(config, data, warm, rows, all_gradients(config, part, warm))
    part = run_screen(config, data, states, inferred)
    return Rows(part, part)


def matrix_of(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    rows: Rows,
    gradients: tuple[CheckpointGradients, ...],
) -> Handle:
    """Return the influence matrix of the rows with gradients, or of all rows, inferred from it."""
    matrix: Handle = run_attribution(config, rows.data, warm, gradients, rows.screen)
    if rows.states is None:
        return matrix
    inferred: Handle = run_inference(config, data, matrix, rows.states)
    return inferred


def matrix_key(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    rows: Rows,
    gradients: tuple[CheckpointGradients, ...],
) -> str:
    """Return the key of the artifact that `matrix_of` returns, without computing it."""
    identity = run_attribution.identify(config, rows.data, warm, gradients, rows.screen)
    if rows.states is not None:
        store = ArtifactStore(config.store)
        matrix = store.handle(identity.stage, identity.fingerprint)
        identity = run_inference.identify(config, data, matrix, rows.states)
    return identity.key


def all_representations(
    config: RunConfig, data: Handle, methods: Sequence[str]
) -> dict[str, Representations]:
    """Compute the hidden states that some methods need; empty if none does."""
    prepared = load_prepared(data)
    found: dict[str, Representations] = {}
    for pooling in poolings(methods):
        shards = {
            split: tuple(
                run_representation_shard(config, data, pooling, shard)
                for shard in plan_shards(
                    getattr(prepared, split).frame,
                    split=split,
                    checkpoint=0,
                    rows=config.gradients.rows_per_shard,
                )
            )
            for split in ("train", "validation")
        }
        found[pooling] = Representations(**shards)
    release_base()
    return found
