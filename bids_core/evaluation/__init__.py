"""Held-out evaluation: the user's own test rows, and benchmark suites through lm-eval.

Read in this order: `metrics` (the table of what counts as correct), `rows` (from test rows to token
ids and reference answers), `answers` and `thoughts` (what counts as the answer), `reading` and
`cache` (running a model, and which uses of its cache are correct), `likelihood`, `prompts`,
`choices`, `sampling` and `generation` (the forward passes), `own_tasks` (evaluates your own rows),
`scores` (the resulting frames), `suites` (lm-eval on top of the same passes).
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
