"""What would a cheaper setting cost and keep? Measured on a sample of the user's own pool.

The exact pipeline runs on the sample up to the picks, then every setting. All of this uses the
run's own stages and store: features shared by two settings are computed once, and if the store has
the run's warmup, or some of its gradients, these are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from prefect import flow

from bids_core.artifacts import ArtifactStore
from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.planning.cheaper import candidates
from bids_core.planning.cost import Counts, n_checkpoints
from bids_core.planning.frontier import LEAST_PICKS, least_sample
from bids_core.planning.hardware import Machine, gpu_of
from bids_core.planning.settings import (
    YOURS,
    Setting,
    shortcuts_of,
    without_shortcuts,
)
from bids_core.selection import METHODS, resolve_budget
from flows.admission import admit
from flows.beforehand import check_settings
from flows.budget import planned_picks, require_room
from flows.cancelling import cancellable
from flows.on_sample import OnSample
from flows.plan_work import work_of_plan
from flows.spread import warmed
from tasks.plan import Sample, gather_plan
from tasks.prepare import load_prepared, prepare_data
from tasks.runtime.progress import expect
from tasks.runtime.run_logs import run_logs
from tasks.screen import run_sample
from tasks.speed import speed_here
from tasks.warmup import run_warmup

if TYPE_CHECKING:
    from bids_core.artifacts import Handle

ROWS: Final = 400
"""Smallest sample: 15% of it are 60 picks, whose overlap is known to within 0.13 at worst."""
OVERLAP: Final = 0.7


@flow(name="plan-settings", flow_run_name="{config.name}", validate_parameters=True)
def plan_settings(
    config: RunConfig,
    rows: int | None = None,
    own: Sequence[Setting] = (),
    gpu: str | None = None,
    gpus: int = 1,
    hours: float | None = None,
    overlap: float = OVERLAP,
) -> dict[str, Any]:
    """Measure on a sample what cheaper settings keep, and estimate what they cost on the pool.

    Args:
        config: the whole configuration; its own shortcuts are one of the settings.
        rows: of the sample; the whole pool if it has no more. None: 400, or as many as the
            budget needs for 20 picks.
        own: further settings.
        gpu: the GPU for which costs are planned; None: this machine, measured.
        gpus: how many GPUs share the gradients.
        hours: limit on the total time; the best setting within it is chosen.
        overlap: without a time limit, the share of the exact picks that the cheapest setting must
            keep.

    Returns:
        The content of `plan.json` in the run folder.

    Raises:
        ConfigError: the sample is too small for conclusions, or a setting is impossible.
    """
    admit(config)
    config = check_settings(config)
    store = ArtifactStore(config.store)
    if gpu is not None:
        gpu_of(gpu)
    _require_influence(config)
    exact = without_shortcuts(config)
    folder = config.output_dir / config.name
    with cancellable(), run_logs(), store.recording(config.name, kind="plan", folder=folder):
        data = prepare_data(exact)
        pool_rows = len(load_prepared(data).train)
        whole = planned_picks(exact.selection.budget, pool_rows)
        rows = rows or max(ROWS, least_sample(whole, pool_rows))
        picks = _picks(whole, rows, pool_rows)
        counts = Counts.of(exact, load_prepared(data))
        mine = _own_settings(config, exact, counts, own)
        speed = speed_here(exact, data)
        machine = (
            Machine("measured on this machine", speed)
            if gpu is None
            else Machine.planned(gpu, speed.size, gpus=gpus)
        )
        tried, left_out = _candidates(exact, counts, mine, layers=speed.size.n_layers)
        tried += mine
        drawn = data if rows >= pool_rows else run_sample(exact, data, rows)
        warms = _warmups_there(tried, exact, data)
        sample = Sample(
            drawn=drawn,
            rows=min(rows, pool_rows),
            pool_rows=pool_rows,
            picks=picks,
            own_warmup=warms is None,
        )
        expect(work_of_plan(exact, sample, tried, tokens_per_second=speed.tokens_per_second))
        trial = OnSample(exact, sample, warms)
        measured = [trial.measure(setting) for setting in tried]
        result: dict[str, Any] = gather_plan(
            exact,
            data,
            counts,
            sample,
            measured,
            machine,
            left_out=left_out,
            hours=hours,
            overlap=overlap,
        )
    return result


def _require_influence(config: RunConfig) -> None:
    method = config.selection.method
    if METHODS[method].needs != "influence":
        msg = (
            f"selection.method: {method} picks without influence, so there are no gradients to "
            "save; plan for a method that needs it (bids)"
        )
        raise ConfigError(msg)


def _picks(whole: int, rows: int, pool_rows: int) -> int:
    """Return the number of picks from the sample, the budget's share; refuse too small a sample."""
    if rows >= pool_rows:
        rows, picks = pool_rows, whole
    else:
        picks = whole * rows // pool_rows  # rounded down, like the rows that a screen keeps
    if picks < LEAST_PICKS:
        needed = least_sample(whole, pool_rows)
        fix = (
            f"take at least {needed:,} (--rows {needed})"
            if needed <= pool_rows
            else "the pool is too small to plan on; select exactly"
        )
        msg = (
            f"a sample of {rows:,} rows is too small to judge: the budget picks {picks} of "
            f"them, and at least {LEAST_PICKS} are needed; {fix}"
        )
        raise ConfigError(msg)
    if picks >= rows:
        msg = (
            "selection.budget: all rows are picked, whatever the setting; lower the budget, for "
            "instance with --set selection.budget=0.15"
        )
        raise ConfigError(msg)
    return picks


def _own_settings(
    config: RunConfig, exact: RunConfig, counts: Counts, own: Sequence[Setting]
) -> list[Setting]:
    """Return the user's own settings, the configuration's shortcuts first; refuse invalid ones.

    Raises:
        ConfigError: one is not a valid configuration, or leaves too few rows to pick from.
    """
    whole = planned_picks(exact.selection.budget, counts.pool_rows)
    shortcuts = shortcuts_of(config)
    yours = [Setting(YOURS, "the configuration as it is", shortcuts)] if shortcuts else []
    for setting in (*yours, *own):
        try:
            require_room(setting.configure(exact), whole, counts.pool_rows)
        except ConfigError as error:
            msg = f"setting {setting.name!r}: {error}"
            raise ConfigError(msg) from error
    return [*yours, *own]


def _candidates(
    exact: RunConfig, counts: Counts, own: Sequence[Setting], *, layers: int
) -> tuple[list[Setting], list[str]]:
    """Return the other settings to try, and the names of those that leave too few rows."""
    whole = planned_picks(exact.selection.budget, counts.pool_rows)
    found = candidates(
        exact, n_checkpoints=n_checkpoints(exact), n_layers=layers, pool_rows=counts.pool_rows
    )
    enough = [_rows_left(setting.configure(exact), counts) > whole for setting in found]
    taken = [setting.name for setting in found if setting.name in {one.name for one in own}]
    if taken:
        msg = f"setting {taken[0]!r}: this name is already used; choose another"
        raise ConfigError(msg)
    tried = [setting for setting, one in zip(found, enough, strict=True) if one]
    return tried, [s.name for s, one in zip(found, enough, strict=True) if not one]


def _rows_left(config: RunConfig, counts: Counts) -> int:
    """Return how many rows a screen keeps; all if there is none."""
    if config.screen.by is None:
        return counts.pool_rows
    return resolve_budget(config.screen.keep, counts.pool_rows)


def _warmups_there(
    settings: Sequence[Setting], exact: RunConfig, data: Handle
) -> dict[str, Handle] | None:
    """Return the pool's own warmup for each setting; None unless the store has all of them.

    Otherwise some settings would be measured at checkpoints trained on the pool, others at
    checkpoints trained on the sample.
    """
    store = ArtifactStore(exact.store)
    found: dict[str, Handle | None] = {}
    by_name: dict[str, Handle] = {}
    for setting in settings:
        whole = _for_one_warmup(setting.configure(exact))
        if whole.warmup.checkpoints:
            by_name[setting.name] = warmed(whole, data)  # trained elsewhere: imported once
            continue
        identity = run_warmup.identify(whole, data)
        if identity.key not in found:
            found[identity.key] = store.get(identity)
        warm = found[identity.key]
        if warm is None:
            return None
        by_name[setting.name] = warm
    return by_name


def _for_one_warmup(config: RunConfig) -> RunConfig:
    """Return a configuration whose warmup runs to its end, with the same first checkpoints."""
    warmup = config.warmup.model_copy(update={"stop_after": None})
    return config.model_copy(update={"warmup": warmup})
