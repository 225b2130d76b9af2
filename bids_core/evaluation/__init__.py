"""Held-out evaluation: the user's own test rows, and benchmark suites through lm-eval.

Read in this order: `metrics` (the table of what counts as right), `rows` (a test row becomes token
ids and a reference answer), `answers` and `thoughts` (what counts as the answer), `reading` and
`cache` (token ids into a model, and what its cache can be trusted with), `likelihood`, `prompts`,
`choices`, `sampling` and `generation` (the forward passes), `own_tasks` (own rows asked and
scored), `scores` (the frames that come out), `suites` (lm-eval around the same passes).

What the names below need is imported when one of them is first asked for.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
