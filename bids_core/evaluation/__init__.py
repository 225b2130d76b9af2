"""Held-out evaluation through lm-eval, on the user's own test rows.

Read in this order: `metrics` (the table of what counts as right), `rows` (a test row becomes token
ids and a reference answer), `answers` (what counts as the answer), `likelihood`, `prompts`,
`choices` and `generation` (the forward passes), `harness` (with `harness_task` and `harness_model`:
lm-eval around them), `scores` (the frames that come out).

What the names below need is imported when one of them is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_core.evaluation.scores import ANSWER_LOSS, Evaluation, evaluate, macro_average

__all__ = ["ANSWER_LOSS", "Evaluation", "evaluate", "macro_average"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.scores"), name)
