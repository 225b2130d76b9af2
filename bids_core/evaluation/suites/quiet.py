"""Keeps lm-eval offline and quiet.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import datasets.config
import huggingface_hub.constants
import lm_eval.api.task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _no_bar(items: Iterable[Any], **_: object) -> Iterable[Any]:
    return items


@contextlib.contextmanager
def offline_and_quiet() -> Iterator[None]:
    """Keep lm-eval offline, and hide its messages.

    The libraries read `HF_HUB_OFFLINE` on import, so the values they stored then are changed
    instead, and restored afterwards.
    """
    log = logging.getLogger("lm_eval")
    level = log.level
    hub = huggingface_hub.constants.HF_HUB_OFFLINE
    data = datasets.config.HF_HUB_OFFLINE
    bars = lm_eval.api.task.tqdm
    log.setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = _no_bar
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        log.setLevel(level)
        lm_eval.api.task.tqdm = bars
        huggingface_hub.constants.HF_HUB_OFFLINE = hub
        datasets.config.HF_HUB_OFFLINE = data
