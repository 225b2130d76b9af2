"""What a run will cost, and how much a cheaper one keeps.

Read `cost` (time, disk), `footprint` (memory), `hardware` (GPUs by name), `recipes` (ready-made
settings); then `settings` and `cheaper` (what `bids plan` tries), `frontier` (how much each keeps),
`plan_words` and `plot_plan`.
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
