"""Per-column normalisation of a matrix; defined in `bids_core.influence.normalization`.

The public name: `normalize(attribution_NM, method="zscore") -> [N, M]`.
"""

from bids_core.influence.normalization import NORMALIZATIONS, ColumnWarning, normalize

__all__ = ["NORMALIZATIONS", "ColumnWarning", "normalize"]
