"""Stages that can be spread over workers: gradient shards, and calls that train or evaluate.

Inline, everything runs in this process, one after the other. Shards that are handed out are
grouped: a flow run takes about ten seconds to start, so a group gets `execution.group_seconds` of
work at the speed measured so far, less towards the end so that all workers finish at the same time.
Shards themselves keep `gradients.rows_per_shard`: their boundaries are part of their identity, so
earlier shards would become useless if boundaries depended on the speed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import ArtifactStore, refer
from flows.dispatch import Item, Parcel, hand_out
from tasks.attribution import CheckpointGradients
from tasks.gradients import Shard, plan_gradients, plan_shards, run_gradient_shard
from tasks.kept_warmup import kept_warmup, tell_coverage
from tasks.prepare import load_prepared
from tasks.runtime.progress import current
from tasks.runtime.stage import StageTask
from tasks.ui_artifacts import GradientProgress
from tasks.warmup import run_warmup, used_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bids_core.artifacts import Handle, Identity
    from bids_core.config import ModelConfig, RunConfig
    from bids_core.data import PreparedData
    from bids_core.errors import BidsError

logger = logging.getLogger(__name__)

SPLITS: Final = ("train", "validation")
_LEAST_SECONDS: Final = 30.0  # three times the cost of starting a flow run


@dataclass(frozen=True)
class Call:
    """A stage's task with its arguments besides the configuration, by name."""

    task: StageTask[Any]
    arguments: dict[str, Any]
    label: str


def spread_calls(config: RunConfig, calls: Sequence[Call]) -> list[Handle]:
    """Run tasks that train or evaluate: here, or in parallel on workers.

    Args:
        config: `execution.training` says where.
        calls: the calls, independent of each other.

    Returns:
        Their handles, in order.
    """
    if config.execution.training == "inline":
        return [call.task(config, **call.arguments) for call in calls]
    store = ArtifactStore(config.store)
    wanted = portable(config, store)
    made = [call_parcel(wanted, call) for call in calls]
    queue = _Queue([parcel for _, parcel in made if parcel is not None])
    hand_out(queue, config.execution.training_deployment, config.execution, store)
    return [handle for handle, _ in made]


def warmed(config: RunConfig, data: Handle) -> Handle:
    """Return the run's warmup: an earlier one if the configuration allows it, otherwise trained."""
    started = time.perf_counter()
    warm = kept_warmup(config, data, run_warmup.identify(config, data))
    if warm is None:
        (warm,) = spread_calls(config, [Call(run_warmup, {"data": data}, "warmup")])
    else:
        current().end("warmup", seconds=time.perf_counter() - started, cached=True)
    tell_coverage(config, data, warm)
    return warm


def call_parcel(config: RunConfig, call: Call) -> tuple[Handle, Parcel | None]:
    """Return the handle of a call's result, and the parcel for a worker to compute it.

    Args:
        config: from `portable`.
        call: what to run; it is the value of the parcel's only item.

    Returns:
        The handle, and the parcel; None instead of a parcel if the store has the result intact.
    """
    identity = call.task.identify(config, **call.arguments)
    store = ArtifactStore(config.store)
    handle = store.handle(identity.stage, identity.fingerprint)
    if store.get(identity) is not None:
        return handle, None
    return handle, Parcel(call.label, (Item(handle, call),), _call_parameters(config))


def _call_parameters(config: RunConfig) -> Callable[[tuple[Item, ...]], dict[str, Any]]:
    def parameters(items: tuple[Item, ...]) -> dict[str, Any]:
        call: Call = items[0].value
        arguments = {
            name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for name, value in call.arguments.items()
        }
        return {
            "config": config.model_dump(mode="json"),
            "stage": call.task.name,
            "arguments": arguments,
        }

    return parameters


class _Queue:
    """Parcels that are ready."""

    def __init__(self, parcels: list[Parcel]) -> None:
        self._parcels = parcels

    def next_parcel(self, slots: int) -> Parcel | None:  # noqa: ARG002 - each is one call
        """Return the next parcel."""
        return self._parcels.pop(0) if self._parcels else None

    def done(self, item: Item) -> None:
        """Do nothing."""

    def failed(self, parcel: Parcel, error: BidsError) -> None:  # noqa: ARG002 - it says which
        """Stop: every result is needed."""
        raise error


def all_gradients(config: RunConfig, data: Handle, warm: Handle) -> tuple[CheckpointGradients, ...]:
    """Compute the features of every shard of both splits at every checkpoint used."""
    numbers = used_checkpoints(config, warm)
    plan = _plan(config, data, warm, numbers)
    progress = GradientProgress(config, sum(shard.stop - shard.start for shard in plan))
    if config.execution.gradients == "deployment":
        found = _on_workers(config, data, warm, plan, progress)
    else:
        _refer_to_all(config, _identities(config, data, warm, plan))
        found = {}
        for shard in plan:
            with progress.shard(shard):
                found[shard] = run_gradient_shard(config, data, warm, shard)
    return tuple(
        CheckpointGradients(
            **{
                split: tuple(
                    found[shard]
                    for shard in plan
                    if (shard.checkpoint, shard.split) == (checkpoint, split)
                )
                for split in SPLITS
            }
        )
        for checkpoint in numbers
    )


def shards_of(
    config: RunConfig,
    prepared: PreparedData,
    checkpoints: Sequence[int],
    *,
    pool_rows: int | None = None,
) -> list[Shard]:
    """Return the planned shards of both splits at some checkpoints.

    Args:
        config: the run.
        prepared: its data.
        checkpoints: their numbers.
        pool_rows: how many rows of the pool get gradients; None: all.
    """
    frames = {split: getattr(prepared, split).frame for split in SPLITS}
    frames["train"] = frames["train"].iloc[:pool_rows]
    return [
        shard
        for checkpoint in checkpoints
        for split in SPLITS
        for shard in plan_shards(
            frames[split],
            split=split,
            checkpoint=checkpoint,
            rows=config.gradients.rows_per_shard,
        )
    ]


def _plan(config: RunConfig, data: Handle, warm: Handle, checkpoints: Sequence[int]) -> list[Shard]:
    return [
        shard
        for checkpoint in checkpoints
        for split in SPLITS
        for shard in plan_gradients(config, data, warm, split=split, checkpoint=checkpoint)
    ]


def _on_workers(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    plan: list[Shard],
    progress: GradientProgress,
) -> dict[Shard, Handle]:
    store = ArtifactStore(config.store)
    wanted = portable(config, store)
    identities = _identities(wanted, data, warm, plan)
    _refer_to_all(wanted, identities)
    handles: dict[Shard, Handle] = {}
    missing: list[Item] = []
    for shard, identity in identities.items():
        handle = store.handle(identity.stage, identity.fingerprint)
        handles[shard] = handle
        if store.get(identity) is not None:
            progress.cached(shard)
        else:
            missing.append(Item(handle, shard))
    groups = ShardGroups(missing, wanted, data, warm, progress)
    hand_out(groups, config.execution.deployment, config.execution, store)
    progress.end()
    return handles


def _identities(
    config: RunConfig, data: Handle, warm: Handle, plan: list[Shard]
) -> dict[Shard, Identity]:
    return {shard: run_gradient_shard.identify(config, data, warm, shard) for shard in plan}


def _refer_to_all(config: RunConfig, identities: dict[Shard, Identity]) -> None:
    """Record what the run needs, before any of it is computed, here or elsewhere."""
    keys = [key for identity in identities.values() for key in (identity.key, *identity.uses)]
    refer(ArtifactStore(config.store).url, keys)


class ShardGroups:
    """Groups the missing shards on request, by the speed measured so far."""

    def __init__(
        self,
        missing: list[Item],
        config: RunConfig,
        data: Handle,
        warm: Handle,
        progress: GradientProgress,
    ) -> None:
        self._missing = missing
        self._config = config
        self._data, self._warm = data, warm
        self._progress = progress
        prepared = load_prepared(data)
        lengths = {split: getattr(prepared, split).frame["input_ids"].map(len) for split in SPLITS}
        self._tokens = {
            item.value: int(
                lengths[item.value.split].iloc[item.value.start : item.value.stop].sum()
            )
            for item in missing
        }
        self._tokens_left = sum(self._tokens.values())
        summary = warm.summary()
        self._seconds, self._measured = float(summary["seconds"]), int(summary["tokens"])
        if not self._measured:  # trained elsewhere, at an unknown speed
            self._seconds, self._measured = _LEAST_SECONDS, 1
        self._from_warmup = True

    def next_parcel(self, slots: int) -> Parcel | None:
        """Return a group of shards of one checkpoint."""
        if not self._missing:
            return None
        target = self.target_seconds(slots)
        first = self._missing[0].value
        group = [self._missing.pop(0)]
        seconds = self._expected(first)
        while self._missing and self._missing[0].value.checkpoint == first.checkpoint:
            seconds += self._expected(self._missing[0].value)
            if seconds > target:
                break
            group.append(self._missing.pop(0))
        self._tokens_left -= sum(self._tokens[item.value] for item in group)
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        return Parcel(f"{first.label}{more}", tuple(group), self._parameters)

    def target_seconds(self, slots: int) -> float:
        """Return how long the next group should take: short until shards have been measured."""
        most = self._config.execution.group_seconds
        if self._from_warmup:
            return min(_LEAST_SECONDS, most)
        left = self._seconds_for(self._tokens_left)
        return min(max(_LEAST_SECONDS, left / max(1, slots)), most)

    def done(self, item: Item) -> None:
        """Update the speed from a finished shard."""
        if self._from_warmup:
            self._seconds, self._measured, self._from_warmup = 0.0, 0, False
        self._seconds += float(item.handle.summary()["compute_seconds"])
        self._measured += self._tokens[item.value]
        self._progress.computed(item.value)

    def failed(self, parcel: Parcel, error: BidsError) -> None:  # noqa: ARG002 - it says which
        """Stop: without all shards there is no matrix."""
        raise error

    def _expected(self, shard: Shard) -> float:
        return self._seconds_for(self._tokens[shard])

    def _seconds_for(self, tokens: int) -> float:
        return tokens * self._seconds / max(1, self._measured)

    def _parameters(self, items: tuple[Item, ...]) -> dict[str, Any]:
        return {
            "config": self._config.model_dump(mode="json"),
            "data": self._data.model_dump(mode="json"),
            "warm": self._warm.model_dump(mode="json"),
            "shards": [item.value.model_dump(mode="json") for item in items],
        }


def portable(config: RunConfig, store: ArtifactStore) -> RunConfig:
    """Return a configuration that means the same on another machine.

    The store gets its full address; a model's `dtype: auto` is decided here, once, because workers
    with different devices would decide differently and never find each other's work.
    """
    finetune = config.finetune
    if finetune.model is not None:
        finetune = finetune.model_copy(update={"model": _with_dtype(finetune.model)})
    return config.model_copy(
        update={"store": store.url, "model": _with_dtype(config.model), "finetune": finetune}
    )


def _with_dtype(model: ModelConfig) -> ModelConfig:
    if model.dtype != "auto":
        return model
    from bids_core.models.load import choose_device, choose_dtype

    dtype = str(choose_dtype("auto", choose_device(model.device))).removeprefix("torch.")
    logger.info("dtype: auto of %s is %s on this machine; workers use the same", model.path, dtype)
    return model.model_copy(update={"dtype": dtype})
