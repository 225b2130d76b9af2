from __future__ import annotations

import errno
import logging

import httpx
import pytest
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError

from bids_core.config import RunConfig
from bids_core.errors import ArtifactError, ConfigError, NonFiniteError
from tasks.runtime.retries import may_pass, smaller_after_out_of_memory

CONFIG = RunConfig.model_validate(
    {
        "model": {"path": "m"},
        "pool": [{"path": "p"}],
        "validation": [{"path": "v", "task": "t", "capability": "c"}],
    }
)
OUT = RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConfigError("bad"), False),
        (NonFiniteError("nan"), False),
        (ArtifactError("the disk is full"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (FileNotFoundError("gone"), False),
        (PermissionError("no"), False),
        (TaskRunTimeoutError("too long"), False),
        (OSError(errno.EIO, "input/output error"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow network"), True),
        (httpx.ConnectError("refused"), True),
        (type("EndpointConnectionError", (type("HTTPClientError", (Exception,), {}),), {})(), True),
        (OUT, True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (KeyError("bug"), False),
    ],
)
def test_what_can_pass_is_tried_again_and_nothing_else(error, passes):
    assert may_pass(None, None, Failed(data=error)) is passes


def test_out_of_memory_halves_the_tokens_in_a_batch(caplog):
    seen = []

    @smaller_after_out_of_memory
    def stage(config, factor):
        seen.append((config.warmup.tokens_per_batch, config.gradients.tokens_per_batch))
        if len(seen) < 3:
            raise OUT
        return factor * config.finetune.tokens_per_batch

    with caplog.at_level(logging.WARNING):
        assert stage(CONFIG, 2) == 2 * 1024
    assert seen == [(4096, 2048), (2048, 1024), (1024, 512)]
    assert caplog.text.count("half the tokens") == 2


def test_out_of_memory_for_good_and_other_errors_are_raised():
    calls = []

    @smaller_after_out_of_memory
    def stage(config, error):
        calls.append(config)
        raise error

    with pytest.raises(RuntimeError, match="out of memory"):
        stage(CONFIG, OUT)
    assert len(calls) == 5
    with pytest.raises(RuntimeError, match="shape"):
        stage(CONFIG, RuntimeError("shape"))
    assert len(calls) == 6
