"""The work of a run, by the labels under which its steps are shown; for the time left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.planning.cost import Counts, checkpoint_numbers, rows_with_gradients, stage_tokens
from bids_core.planning.forecast import Work
from bids_core.selection import resolve_budget
from bids_core.selection.names import ZERO_SHOT, method_name
from flows.spread import shards_of
from tasks.prepare import load_prepared
from tasks.representations import poolings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from tasks.cells import Cell
    from tasks.gradients import Shard

_ORDER: Final = ("prepare", "warmup", "gradients", "attribution", "selection", "finetune", "report")
_SUITES: Final = "the benchmark suites"
_REPORT_SECONDS: Final = 2.0
"""Seconds to gather the run folder of a small run; in a large run it hardly matters."""


def planned_work(config: RunConfig, data: Handle, until: str) -> Work:
    """Return the work of every step after `prepare`.

    Args:
        config: the run.
        data: the prepared data.
        until: last stage.
    """
    prepared = load_prepared(data)
    counts = Counts.of(config, prepared)
    stages = stage_tokens(config, counts)
    reached = _ORDER[: _ORDER.index(until) + 1]
    methods = [method_name(method) for method in config.selection.methods]
    tokens = {"warmup": stages["warmup"]} if "warmup" in reached else {}
    n_rows = rows_with_gradients(config, counts)
    shards = shards_of(config, prepared, checkpoint_numbers(config), pool_rows=n_rows)
    if "gradients" in reached:
        tokens |= _shared({s.label: _length(prepared, s) for s in shards}, stages["gradients"])
    if "selection" in reached and "representations" in stages:
        tokens |= _representations(config, prepared, stages["representations"])
    if "finetune" in reached and config.finetune.enabled:
        picks = dict.fromkeys(methods, resolve_budget(config.selection.budget, len(prepared.train)))
        picks |= {"full": len(prepared.train)} if "full" in picks else {}
        tokens |= _shared({f"finetune {n}": k for n, k in picks.items()}, stages["finetune"])
        if until == "report" and "evaluation" in stages:
            models = [ZERO_SHOT, *methods] if config.evaluation.zero_shot else methods
            tokens |= _shared({f"evaluation {n}": 1 for n in models}, stages["evaluation"])
    suites = until == "report" and config.finetune.enabled and config.evaluation.suites
    return Work(
        tokens,
        {"report": _REPORT_SECONDS},
        beyond=_SUITES if suites else "",
        groups={
            shard.label: (f"gradients checkpoint {shard.checkpoint}", shard.stop - shard.start)
            for shard in shards
        },
    )


def planned_comparison(config: RunConfig, data: Handle, cells: Sequence[Cell]) -> Work:
    """Return the work of a comparison after `prepare`, all of it in this process.

    Args:
        config: of the comparison.
        data: the prepared data.
        cells: the cells to fine-tune and evaluate; a cell without a seed is only evaluated.
    """
    tuned = [cell for cell in cells if cell.seed is not None]
    methods = tuple(dict.fromkeys(cell.picked_with for cell in tuned))
    selection = {"method": methods[0], "compare": methods[1:], "budget": 1.0}
    changes = {
        "selection": config.selection.model_copy(update=selection),
        "finetune": config.finetune.model_copy(update={"enabled": True}),
    }
    mine = config.model_copy(update=changes)
    prepared = load_prepared(data)
    stages = stage_tokens(mine, Counts.of(mine, prepared))
    work = planned_work(mine, data, "selection")
    per_row = stages["finetune"] / (len(methods) * len(prepared.train))  # a budget of all rows
    tokens = {f"finetune {cell.label}": per_row * cell.n_rows for cell in tuned}
    if "evaluation" in stages:
        n_models = len(methods) + config.evaluation.zero_shot
        tokens |= {f"evaluation {cell.label}": stages["evaluation"] / n_models for cell in cells}
    return Work(
        {**work.tokens, **tokens},
        {"comparison": _REPORT_SECONDS},
        beyond=_SUITES if config.evaluation.suites else "",
        groups=work.groups,
    )


def _representations(config: RunConfig, prepared: PreparedData, tokens: float) -> dict[str, float]:
    shards = shards_of(config, prepared, [1])
    lengths = {
        f"representations {pooling} {shard.split} rows {shard.start}-{shard.stop}": _length(
            prepared, shard
        )
        for pooling in poolings(config.selection.methods)
        for shard in shards
    }
    return _shared(lengths, tokens)


def _length(prepared: PreparedData, shard: Shard) -> int:
    lengths = getattr(prepared, shard.split).frame["n_tokens"]
    return int(lengths.iloc[shard.start : shard.stop].sum())


def _shared(parts: Mapping[str, int], tokens: float) -> dict[str, float]:
    """Divide a stage's work among its steps, in proportion."""
    total = max(1, sum(parts.values()))
    return {label: tokens * part / total for label, part in parts.items()}
