"""Diagnostics: what a pool and a selection influence, and whether to trust the influence.

Read in this order: `influence` (AID, THI), `columns` (their distributions), `picks` (along the pick
order, overlap, near-duplicates), `stability` (leave one out, agreement of checkpoints), `analysis`
(all of these at once); `harmful`, `audit` (rows that hurt, near misses), `coverage` (which picks
cover a row that was not picked); `single_steps`, `trust` (predicted against measured loss changes),
`datamodel` (against whole training runs).
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
