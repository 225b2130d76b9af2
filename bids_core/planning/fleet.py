"""What a run costs when many GPUs share it: the wall time of each part, and the bottleneck.

The cost model (`cost`) counts the work; this module says how the work divides. Parts that run in a
single process of the pipeline were measured on two CPU cores, and grow as stated at each constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.influence.matrix import RESIDENT_BYTES
from bids_core.planning.cost import checkpoint_numbers, estimate_counts, rows_with_gradients

if TYPE_CHECKING:
    from bids_core.config import RunConfig
    from bids_core.planning.cost import Counts, Speed

_PREPARE_SECONDS: Final = 2.7e-6
"""Seconds to read, render and tokenize a pool token: 4,000 against 1,000 rows of 965 tokens, one
core."""
_PREPARED_BYTES: Final = 15.3
"""Bytes of memory per pool token wherever the prepared data is loaded; from the same rows."""
_START_SECONDS: Final = 14.0
"""Seconds until a flow run begins its first shard: process, imports (docs/production.md)."""
_FROM_DISK: Final = 5e9 / 224
"""Entries that BIDS reads per second from a matrix larger than memory: 5,000,000 x 1,000
(docs/selection.md)."""
_REPORT_SECONDS: Final = (3.2, 3.7e-5)
"""Seconds for the report: fixed, and per pool row (40,000 and 120,000 rows, 15% picked)."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """GPUs that share a run.

    Args:
        gpus: how many in all, of one kind.
        per_machine: how many in one machine; a warmup trains on the GPUs of one machine.
    """

    gpus: int
    per_machine: int = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run: its name, wall seconds, and the basis of the estimate."""

    name: str
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class FleetCost:
    """What a run costs up to its selection and report.

    Args:
        parts: in the order in which they run.
        gpu_seconds: work of all GPUs together.
        shards: number of gradient shards.
        flow_runs: number of flow runs that compute the shards.
        store_bytes: size of the gradient store.
        matrix_bytes: size of the attribution matrix.
        prepared_bytes: memory for the prepared data in each process that loads it.
    """

    parts: tuple[Part, ...]
    gpu_seconds: float
    shards: int
    flow_runs: int
    store_bytes: int
    matrix_bytes: int
    prepared_bytes: int

    @property
    def seconds(self) -> float:
        """Wall seconds of all parts, one after the other."""
        return sum(part.seconds for part in self.parts)

    def largest(self) -> list[Part]:
        """Return the parts, longest first."""
        return sorted(self.parts, key=lambda part: -part.seconds)


def fleet_cost(config: RunConfig, counts: Counts, speed: Speed, fleet: Fleet) -> FleetCost:
    """Return what a run costs on some GPUs.

    Gradients divide over all GPUs, shard by shard; the warmup over those of one machine, assumed to
    divide evenly. The rest runs in one process.

    Args:
        config: of the run; `gradients.rows_per_shard` and `execution.group_seconds` count.
        counts: rows and tokens.
        speed: of one GPU.
        fleet: the GPUs.
    """
    stages = {cost.stage: cost for cost in estimate_counts(config, counts, speed)}
    n_rows = rows_with_gradients(config, counts)
    each = math.ceil(n_rows / config.gradients.rows_per_shard) + 1  # plus the validation rows
    shards = len(checkpoint_numbers(config)) * each
    work = stages["gradients"].seconds
    flow_runs = min(shards, math.ceil(work / config.execution.group_seconds))
    rounds = math.ceil(shards / fleet.gpus) / (shards / fleet.gpus)  # the last shard is not full
    entries = counts.pool_rows * counts.validation_rows
    beyond = 4 * entries > RESIDENT_BYTES
    selection = stages["selection"].seconds
    if beyond:
        selection = len(config.selection.methods) * entries / _FROM_DISK
    together = min(fleet.gpus, fleet.per_machine)
    fixed, a_row = _REPORT_SECONDS
    parts = (
        Part("prepare", counts.pool_tokens * _PREPARE_SECONDS, "one process"),
        Part("warmup", stages["warmup"].seconds / together, f"{together} GPUs of one machine"),
        Part("gradients", work / fleet.gpus * rounds, f"{shards:,} shards on {fleet.gpus} GPUs"),
        Part(
            "starting flow runs", flow_runs * _START_SECONDS / fleet.gpus, f"{flow_runs:,} of them"
        ),
        Part("attribution", stages["attribution"].seconds, "one process"),
        Part("selection", selection, "from disk" if beyond else "in memory"),
        Part("report", fixed + a_row * counts.pool_rows, "one process"),
    )
    return FleetCost(
        parts,
        gpu_seconds=work + stages["warmup"].seconds,
        shards=shards,
        flow_runs=flow_runs,
        store_bytes=stages["gradients"].disk_bytes,
        matrix_bytes=stages["attribution"].disk_bytes,
        prepared_bytes=int(_PREPARED_BYTES * counts.pool_tokens),
    )
