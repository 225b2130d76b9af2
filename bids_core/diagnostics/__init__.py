"""Diagnostics: what a pool and a selection influence, and whether to trust the selection.

Read in this order: `influence` (AID, THI), `columns` (their shapes), `picks` (along the pick
order, overlap, near-duplicates), `stability` (leave one out, agreement of checkpoints),
`analysis` (all of it at once); `harmful`, `audit` (rows that hurt, near misses), `coverage` (which
picks cover a row that was not picked);
`single_steps`, `trust` (predicted against measured), `datamodel` (against whole training runs).
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
