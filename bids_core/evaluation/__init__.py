"""Held-out evaluation through lm-eval, on the user's own test rows.

Read in this order: `rows` (a test row becomes token ids and a reference answer), `answers` (what
counts as the answer), `likelihood`, `prompts`, `choices` and `generation` (the forward passes),
`harness` (with `harness_task` and `harness_model`: lm-eval around them), `scores` (the frames that
come out).
"""

from __future__ import annotations

from bids_core.evaluation.scores import ANSWER_LOSS, Evaluation, evaluate, macro_average

__all__ = ["ANSWER_LOSS", "Evaluation", "evaluate", "macro_average"]
