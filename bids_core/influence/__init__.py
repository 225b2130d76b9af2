"""Influence: from stored features to the [N, M] attribution matrix, and its columns.

Read in this order: `attribution` (features to matrix), `stored` (the matrix on disk), `landmarks`
and `derived` (matrices inferred from or taken from another), `matrix` (any matrix, read in blocks),
`normalization` (its columns), `labels` and `files` (matrices made elsewhere).
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
