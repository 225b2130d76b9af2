"""Last stage of `bids plan`: what each setting keeps and costs, in the run folder."""

from __future__ import annotations

import datetime
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from bids_core.artifacts import ArtifactStore
from bids_core.diagnostics.rank_correlation import Estimate
from bids_core.errors import UserError
from bids_core.influence.stored import open_attribution
from bids_core.planning.cost import Counts
from bids_core.planning.frontier import Fidelity, Yardstick, choose, efficient, lost
from bids_core.planning.hardware import Machine, Price, price
from bids_core.planning.plan_words import plan_words
from bids_core.selection import resolve_budget
from tasks.attribution import MATRIX, run_attribution
from tasks.manifest import replace_file, shown_config
from tasks.runtime.progress import current
from tasks.selection import read_selection
from tasks.validation_file import read_validation
from tasks.warmup import run_warmup

if TYPE_CHECKING:
    from pathlib import Path

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from bids_core.influence.stored import Attribution
    from bids_core.planning.settings import Setting

logger = logging.getLogger(__name__)

PLAN: Final = "plan.json"
FIGURE: Final = "plan.png"


@dataclass(frozen=True)
class Sample:
    """The sample on which settings are tried.

    Args:
        drawn: prepared data whose pool is the sample.
        rows: of the sample.
        pool_rows: of the pool.
        picks: the budget's share of the sample, in rows.
        own_warmup: whether the warmup ran on the sample.
    """

    drawn: Handle
    rows: int
    pool_rows: int
    picks: int
    own_warmup: bool


@dataclass(frozen=True)
class Measured:
    """A setting, with its influence and picks on the sample."""

    setting: Setting
    matrix: Handle
    picks: Handle


@task(name="plan", persist_result=False, cache_policy=NO_CACHE)
def gather_plan(
    exact: RunConfig,
    data: Handle,
    counts: Counts,
    sample: Sample,
    measured: Sequence[Measured],
    machine: Machine,
    *,
    left_out: Sequence[str],
    hours: float | None,
    overlap: float,
) -> dict[str, Any]:
    """Compute what each setting keeps and costs; write `plan.json` and `plan.png`.

    Args:
        exact: the configuration without shortcuts.
        data: the prepared data of the whole pool.
        counts: of the whole pool.
        sample: on which the settings were tried.
        measured: the settings, the exact one first.
        machine: for which the costs are estimated.
        left_out: names of settings that were not tried.
        hours: upper limit on the time.
        overlap: lower limit on the share of the exact picks.
    """
    started = time.perf_counter()
    folder = exact.output_dir.resolve() / exact.name
    folder.mkdir(parents=True, exist_ok=True)
    first = _Opened(measured[0])
    yardstick = Yardstick(first.attribution.values(), first.picked(), tasks=first.attribution.tasks)
    gain = _known_gain(exact, data, sample.pool_rows, folder)
    whole = price(exact, counts, machine)
    rows = []
    for one in measured:
        cost = price(one.setting.configure(exact), counts, machine)
        found = _Opened(one).against(first, yardstick)
        if one.matrix == measured[0].matrix:
            found = _itself(found)
        rows.append(
            {
                "name": one.setting.name,
                "words": one.setting.words,
                "family": one.setting.family,
                "changes": dict(one.setting.changes),
                "cost": _cost(cost, whole, machine),
                **found.to_dict(),
                "nats": None if gain is None else lost(found.kept, gain).to_dict(),
            }
        )
    result = {
        "name": exact.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": shown_config(exact, folder).model.path,
        "method": exact.selection.method,
        "sample": {
            "rows": sample.rows,
            "pool_rows": sample.pool_rows,
            "picks": sample.picks,
            "chance": yardstick.chance,
            "warmed_up_on": "the sample" if sample.own_warmup else "the pool",
            "judges": yardstick.judges,
        },
        "machine": {
            "label": machine.label,
            "gpus": machine.gpus,
            "tokens_per_second": machine.speed.tokens_per_second,
        },
        "limits": {"hours": hours, "overlap": overlap},
        "left_out": list(left_out),
        "settings": rows,
    }
    _choose(result)
    result["words"] = plan_words(result)
    replace_file(folder / PLAN, json.dumps(result, indent=1, allow_nan=False))
    figure = _draw(result, folder)
    current().end("plan", seconds=time.perf_counter() - started, cached=False)
    return result | {"folder": str(folder), "figure": figure}


class _Opened:
    """A setting's influence and picks, by index among the exact setting's rows."""

    def __init__(self, measured: Measured) -> None:
        self.attribution: Attribution = open_attribution(measured.matrix.path() / MATRIX)
        self._picks = [str(row_id) for row_id in read_selection(measured.picks)["row_id"]]
        self.place = {row_id: row for row, row_id in enumerate(self.attribution.row_ids)}

    def picked(self) -> list[int]:
        """Return the picks' indices among the setting's own rows."""
        return [self.place[row_id] for row_id in self._picks]

    def against(self, exact: _Opened, yardstick: Yardstick) -> Fidelity:
        """Return what it keeps of the exact influence, ignoring rows without exact influence."""
        columns = [
            self.attribution.validation_ids.index(name) for name in exact.attribution.validation_ids
        ]
        known = [row_id for row_id in self.attribution.row_ids if row_id in exact.place]
        values = self.attribution.values()[[self.place[row_id] for row_id in known]]
        return yardstick.measure(
            [exact.place[row_id] for row_id in known],
            values[:, columns],
            [exact.place[row_id] for row_id in self._picks if row_id in exact.place],
        )


def _itself(found: Fidelity) -> Fidelity:
    """Return what the exact setting keeps of itself: everything, on any sample."""
    all_of_it = Estimate(1.0, 1.0, 1.0)
    kept = found.kept if math.isnan(found.kept.value) else all_of_it
    return replace(found, rank_correlation=all_of_it, overlap=all_of_it, kept=kept)


def _cost(cost: Price, whole: Price, machine: Machine) -> dict[str, Any]:
    fits = None if machine.gb is None else cost.memory_bytes / 1e9 < machine.gb
    return {
        "share": cost.work / whole.work,
        "work_seconds": cost.work,
        "seconds": cost.seconds,
        "memory_bytes": cost.memory_bytes,
        "disk_bytes": cost.disk_bytes,
        "stages": dict(cost.stages),
        "fits_memory": fits,
    }


def _choose(result: dict[str, Any]) -> None:
    """Mark the settings on the frontier and those within the limits, and choose one."""
    rows, hours = result["settings"], result["limits"]["hours"]
    costs = [row["cost"]["work_seconds"] for row in rows]
    overlaps = [row["overlap"]["value"] for row in rows]
    for row, alone in zip(rows, efficient(costs, overlaps), strict=True):
        row["efficient"] = alone
        in_time = hours is None or row["cost"]["seconds"] <= 3600 * hours
        row["fits"] = in_time and row["cost"]["fits_memory"] is not False
    place = choose(
        costs,
        overlaps,
        least=result["limits"]["overlap"],
        allowed=[row["fits"] for row in rows],
        best=hours is not None,
    )
    result["chosen"] = None if place is None else rows[place]["name"]


def _known_gain(exact: RunConfig, data: Handle, pool_rows: int, folder: Path) -> float | None:
    """Return what the exact picks gain over random ones, in nats, if `bids validate --full` ran."""
    warm = run_warmup.identify(exact, data)
    handle = ArtifactStore(exact.store).handle(warm.stage, warm.fingerprint)
    known = read_validation(folder, run_attribution.identify(exact, data, handle, ()).key)
    found = (known or {}).get("subsets", {})
    picks = resolve_budget(exact.selection.budget, pool_rows)
    if found.get("n_rows") != picks or found.get("method") != exact.selection.method:
        return None
    gain = found.get("validation", {}).get("gain", {}).get("value")
    return float(gain) if gain is not None and gain > 0 else None


def _draw(result: Mapping[str, Any], folder: Path) -> str | None:
    """Draw the figure; without matplotlib, log why there is none."""
    try:
        from bids_core.planning.plot_plan import plot_plan
    except UserError as error:
        logger.warning("no %s: %s", FIGURE, error)
        return None
    plot_plan(result).savefig(folder / FIGURE, dpi=130)
    return str(folder / FIGURE)
