"""The work of `bids plan`: the exact pipeline on the sample, then what each setting adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.config.screen import ScreenConfig
from bids_core.planning.cost import Counts, checkpoint_numbers, stage_tokens
from bids_core.planning.forecast import Work
from bids_core.planning.settings import EXACT, on_sample
from flows.work import planned_work
from tasks.excerpt import rows_stand_alone
from tasks.prepare import load_prepared
from tasks.screen import states_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import RunConfig
    from bids_core.planning.settings import Setting
    from tasks.plan import Sample

_SETTING_SECONDS: Final = 2.0
"""Seconds of a setting that computes no features: influence, picks, loading."""


def work_of_plan(
    exact: RunConfig, sample: Sample, settings: Sequence[Setting], *, tokens_per_second: float
) -> Work:
    """Return the work of measuring settings, assuming that the store has none of it.

    Work shared by settings is counted once, as `flows.on_sample` computes it.

    Args:
        exact: the configuration without shortcuts.
        sample: on which they are measured.
        settings: the exact one first.
        tokens_per_second: measured speed.
    """
    counts = Counts.of(exact, load_prepared(sample.drawn))
    tokens: dict[str, float] = {}
    seconds: dict[str, float] = {}
    groups: dict[str, tuple[str, int]] = {}
    done: set[str] = set()
    for setting in settings:
        config = on_sample(
            setting.configure(exact),
            sample_rows=sample.rows,
            pool_rows=sample.pool_rows,
            picks=sample.picks,
            own_warmup=sample.own_warmup,
        )
        added = _added(config, counts, done, trains=sample.own_warmup)
        if setting.name == EXACT:
            work = planned_work(config, sample.drawn, "attribution")
            tokens = {
                label: n
                for label, n in work.tokens.items()
                if label != "warmup" or sample.own_warmup
            }
            groups = dict(work.groups)
        elif added:
            tokens[f"setting {setting.name}"] = added
        else:
            seconds[f"setting {setting.name}"] = _SETTING_SECONDS
    return Work(tokens, seconds, groups=groups, tokens_per_second=tokens_per_second)


def _added(config: RunConfig, counts: Counts, done: set[str], *, trains: bool) -> float:
    """Return the tokens of a setting that no earlier setting computed, and mark them as done."""
    alone = rows_stand_alone(config)
    whole = config.model_copy(
        update={"screen": ScreenConfig(), "landmarks": config.landmarks.model_copy(
            update={"rows": None}
        )}
    ) if alone else config  # fmt: skip
    stages = stage_tokens(whole, counts) | {
        stage: n for stage, n in stage_tokens(config, counts).items() if stage == "representations"
    }
    training = config.warmup.model_dump_json() + config.lora.model_dump_json()
    features = config.gradients.model_copy(update={"checkpoints": None}).model_dump_json()
    rows = "" if alone else config.screen.model_dump_json() + config.landmarks.model_dump_json()
    numbers = checkpoint_numbers(config)
    parts = {f"warmup {training}": stages["warmup"] if trains else 0.0}
    parts |= {
        f"gradients {training} {features} {rows} {number}": stages["gradients"] / len(numbers)
        for number in numbers
    }
    if "representations" in stages:
        parts[f"representations {','.join(states_method(config))}"] = stages["representations"]
    added = sum(n for part, n in parts.items() if part not in done)
    done.update(parts)
    return added
