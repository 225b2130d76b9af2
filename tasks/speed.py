"""How fast the run's model trains on this machine, and how large it is."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from bids_core.models.load import load_tokenizer
from bids_core.planning import Speed, measure_speed
from bids_core.training.starting import starting_model
from tasks.prepare import load_prepared
from tasks.runtime.progress import current

if TYPE_CHECKING:
    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig


def speed_here(config: RunConfig, data: Handle) -> Speed:
    """Measure the speed of training the adapters on rows of the pool.

    Args:
        config: the run.
        data: its prepared data.
    """
    label, started = "measuring the model's speed", time.perf_counter()
    current().step(label, "tokens")
    model = starting_model(config)
    speed = measure_speed(
        model,
        load_prepared(data).train.examples(),
        pad_token_id=load_tokenizer(config.model).pad_token_id,
        checkpointing=config.model.activation_checkpointing,
    )
    del model
    gc.collect()
    current().end(label, seconds=time.perf_counter() - started, cached=False)
    return speed
