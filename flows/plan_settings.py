"""What would a cheaper setting cost and keep? Measured on a sample of the user's own pool.

The exact pipeline runs on the sample up to the picks, then every setting. All of it goes through
the run's own stages and store: features that two settings share are computed once, and if the store
has the run's warmup, or some of its gradients, these are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from prefect import flow

from bids_core.artifacts import ArtifactStore
from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.planning.cheaper import candidates
from bids_core.planning.cost import Counts, n_checkpoints, rows_with_gradients
from bids_core.planning.frontier import LEAST_PICKS
from bids_core.planning.hardware import Machine, gpu_of
from bids_core.planning.settings import (
    YOURS,
    Setting,
    shortcuts_of,
    without_shortcuts,
)
from bids_core.selection import METHODS
from flows.admission import admit
from flows.budget import planned_picks
from flows.cancelling import cancellable
from flows.on_sample import OnSample
from flows.spread import warmed
from tasks.external_warmup import with_checkpoints_adapters
from tasks.plan import Sample, gather_plan
from tasks.prepare import load_prepared, prepare_data
from tasks.runtime.run_logs import run_logs
from tasks.screen import run_sample
from tasks.speed import speed_here
from tasks.warmup import run_warmup

if TYPE_CHECKING:
    from bids_core.artifacts import Handle

ROWS: Final = 400
"""Of a sample: 15% of it are 60 picks, whose overlap is known to within 0.13 at worst."""
OVERLAP: Final = 0.7


@flow(name="plan-settings", flow_run_name="{config.name}", validate_parameters=True)
def plan_settings(
    config: RunConfig,
    rows: int = ROWS,
    own: Sequence[Setting] = (),
    gpu: str | None = None,
    gpus: int = 1,
    hours: float | None = None,
    overlap: float = OVERLAP,
) -> dict[str, Any]:
    """Measure what cheaper settings keep on a sample, and work out what they cost on the pool.

    Args:
        config: the whole configuration; its own shortcuts are one of the settings.
        rows: of the sample; the whole pool if it has no more.
        own: further settings.
        gpu: that the costs are planned for; None: this machine, measured.
        gpus: how many of them share the gradients.
        hours: limit of the whole; the best setting within it is chosen.
        overlap: without a limit, the share of the exact picks that the cheapest has to keep.

    Returns:
        What `plan.json` in the run folder has.

    Raises:
        ConfigError: the sample is too small to judge, or a setting cannot be.
    """
    admit(config)
    store = ArtifactStore(config.store)
    store.require_access()
    if gpu is not None:
        gpu_of(gpu)
    config = with_checkpoints_adapters(config)
    _require_influence(config)
    exact = without_shortcuts(config)
    folder = config.output_dir / config.name
    with cancellable(), run_logs(), store.recording(config.name, kind="plan", folder=folder):
        data = prepare_data(exact)
        pool_rows = len(load_prepared(data).train)
        picks = _picks(exact, rows, pool_rows)
        speed = speed_here(exact, data)
        machine = (
            Machine("measured on this machine", speed)
            if gpu is None
            else Machine.planned(gpu, speed.size, gpus=gpus)
        )
        tried, left_out = _settings(config, exact, data, own, layers=speed.size.n_layers)
        drawn = data if rows >= pool_rows else run_sample(exact, data, rows)
        warms = _warmups_there(tried, exact, data)
        sample = Sample(
            drawn=drawn,
            rows=min(rows, pool_rows),
            pool_rows=pool_rows,
            picks=picks,
            own_warmup=warms is None,
        )
        trial = OnSample(exact, sample, warms)
        measured = [trial.measure(setting) for setting in tried]
        result: dict[str, Any] = gather_plan(
            exact,
            data,
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


def _picks(config: RunConfig, rows: int, pool_rows: int) -> int:
    """Return the picks of the sample: the budget's share; refuses what tells nothing."""
    whole = planned_picks(config.selection.budget, pool_rows)
    if rows >= pool_rows:
        rows, picks = pool_rows, whole
    else:
        picks = round(whole / pool_rows * rows)
    if picks < LEAST_PICKS:
        needed = -(-LEAST_PICKS * pool_rows // whole)
        fix = (
            f"take at least {needed:,} (--rows {needed})"
            if needed <= pool_rows
            else "the pool is too small to plan on; select exactly"
        )
        msg = (
            f"a sample of {rows:,} rows is too small to judge: the budget picks {picks} of them, "
            f"and {LEAST_PICKS} are the least; {fix}"
        )
        raise ConfigError(msg)
    if picks >= rows:
        msg = (
            "selection.budget: all rows are picked, whatever the setting; lower the budget, for "
            "instance with --set selection.budget=0.15"
        )
        raise ConfigError(msg)
    return picks


def _settings(
    config: RunConfig, exact: RunConfig, data: Handle, own: Sequence[Setting], *, layers: int
) -> tuple[list[Setting], list[str]]:
    """Return the settings to try, and the names of those that leave too few rows to pick from."""
    counts = Counts.of(exact, load_prepared(data))
    whole = planned_picks(exact.selection.budget, counts.pool_rows)
    tried = candidates(
        exact, n_checkpoints=n_checkpoints(exact), n_layers=layers, pool_rows=counts.pool_rows
    )
    if shortcuts := shortcuts_of(config):
        tried.append(Setting(YOURS, "the configuration as it is", shortcuts))
    mine = [YOURS, *(setting.name for setting in own)]
    tried += own
    left_out: list[str] = []
    kept: list[Setting] = []
    for setting in tried:
        left = rows_with_gradients(setting.configure(exact), counts)
        if setting.configure(exact).landmarks.rows is not None and not _screens(setting, exact):
            left = counts.pool_rows  # the others' influence is inferred
        if left > whole:
            kept.append(setting)
        elif setting.name not in mine:
            left_out.append(setting.name)
        else:
            msg = (
                f"setting {setting.name!r} gives influence to {left:,} rows, and the budget takes "
                f"{whole:,}; raise screen.keep"
            )
            raise ConfigError(msg)
    names = [setting.name for setting in kept]
    for name in names:
        if names.count(name) > 1:
            msg = f"two settings are called {name!r}; give yours another name"
            raise ConfigError(msg)
    return kept, left_out


def _screens(setting: Setting, exact: RunConfig) -> bool:
    return setting.configure(exact).screen.by is not None


def _warmups_there(
    settings: Sequence[Setting], exact: RunConfig, data: Handle
) -> dict[str, Handle] | None:
    """Return the pool's own warmup of each setting; None unless the store has all of them.

    Else some settings would be measured at checkpoints that saw the pool, others at such that saw
    the sample.
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
    """Return a configuration whose warmup goes on to its end, with the same first checkpoints."""
    warmup = config.warmup.model_copy(update={"stop_after": None})
    return config.model_copy(update={"warmup": warmup})
