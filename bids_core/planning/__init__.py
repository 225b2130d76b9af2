"""What a run will cost, and what a cheaper one keeps.

Read `cost` (time, disk), `footprint` (memory), `hardware` (GPUs by name), `recipes` (ready
settings); then `settings` and `cheaper` (what `bids plan` tries), `frontier` (what each keeps),
`plan_words` and `plot_plan`.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
