"""How fast the run's model trains on this machine, and how large it is."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from bids_core.models.adapters import add_lora
from bids_core.models.load import load_adapter, load_base, load_tokenizer
from bids_core.planning import Speed, measure_speed
from tasks.prepare import load_prepared
from tasks.runtime.progress import current

if TYPE_CHECKING:
    from peft import PeftModel

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
    model = _with_adapters(config)
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


def _with_adapters(config: RunConfig) -> PeftModel:
    if config.warmup.checkpoints:
        from bids_core.training.external import find_checkpoints

        first = find_checkpoints(config.warmup.checkpoints)[0]
        return load_adapter(config.model, first, trainable=True)
    return add_lora(load_base(config.model), config.lora, seed=config.seed)
