"""Held-out evaluation through lm-eval, on the user's own test rows.

Read in this order: `metrics` (the table of what counts as right), `rows` (a test row becomes token
ids and a reference answer), `answers` (what counts as the answer), `likelihood`, `prompts`,
`choices` and `generation` (the forward passes), `harness` (with `harness_task` and `harness_model`:
lm-eval around them), `scores` (the frames that come out).

What the names below need is imported when one of them is first asked for.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
