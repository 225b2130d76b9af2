"""Influence: from stored features to the [N, M] attribution matrix, and its columns.

Read in this order: `attribution` (features to matrix), `stored` (how it lies on disk), `landmarks`
and `derived` (matrices inferred or taken from another), `matrix` (any matrix, read in blocks),
`normalization` (its columns), `labels` and `files` (matrices made elsewhere).
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
