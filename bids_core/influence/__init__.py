"""Influence: from stored features to the [N, M] attribution matrix, and its columns.

Read in this order: `attribution` (features to matrix), `matrix` (any matrix, read in blocks),
`normalization` (its columns), `labels` and `files` (matrices made elsewhere).
"""
