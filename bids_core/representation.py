"""Similarity of hidden states: RDS and RDS+.

Shapes: N training rows, M validation instances, H hidden size, B rows of a batch, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.matrix import MatrixLike, as_matrix
from bids_core.normalization import prepare

if TYPE_CHECKING:
    import torch


def last_token(hidden_BTH: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the hidden state of each row's last token that is not padding.

    Args:
        hidden_BTH: last hidden states.
        mask_BT: 1 for tokens, 0 for padding on either side.

    Returns:
        [B, H] float32.

    Source: RDS (arXiv 1801.03924), as in LESS (arXiv 2402.04333), section 4.1.
    """
    import torch

    places = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_B = (mask_BT * places).argmax(dim=1)
    return hidden_BTH[torch.arange(len(last_B), device=mask_BT.device), last_B].float()


def weighted_mean(hidden_BTH: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the mean of each row's hidden states, later tokens weighing more (1, 2, 3, ...).

    Args:
        hidden_BTH: last hidden states.
        mask_BT: 1 for tokens, 0 for padding on either side.

    Returns:
        [B, H] float32.

    Source: RDS+ (arXiv 2503.01807), equation 1.
    """
    weights_BT = (mask_BT.cumsum(dim=1) * mask_BT).float()
    weights_BT = weights_BT / weights_BT.sum(dim=1, keepdim=True)
    return (hidden_BTH.float() * weights_BT[:, :, None]).sum(dim=1)


def cosine_similarity(
    representations: MatrixLike, validation_representations: MatrixLike
) -> npt.NDArray[np.float32]:
    """Return the cosine of every training row with every validation instance.

    Args:
        representations: [N, H].
        validation_representations: [M, H].

    Returns:
        [N, M] float32.

    Raises:
        MatrixError: the widths differ, an entry is not finite, or a row is zero.
    """
    train = as_matrix(representations)
    validation = as_matrix(validation_representations)
    if train.n_columns != validation.n_columns:
        msg = (
            f"training representations are {train.n_columns} wide, those of the validation "
            f"instances {validation.n_columns}: use the same model and pooling for both"
        )
        raise MatrixError(msg)
    for matrix in (train, validation):
        prepare(matrix, "none")  # refuses entries that are not finite
    units_MH = _units(validation.take(np.arange(validation.n_rows)), "validation instance", 0)
    similarity = np.empty((train.n_rows, validation.n_rows), dtype=np.float32)
    for start, block in train.blocks():
        unit_RH = _units(block, "training row", start)
        similarity[start : start + len(block)] = unit_RH @ units_MH.T
    return similarity


def _units(rows: npt.NDArray[np.generic], what: str, start: int) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        msg = f"the representation of {what} {start + int(zero[0])} is zero: it has no direction"
        raise MatrixError(msg)
    units: npt.NDArray[np.float64] = wide / norms
    return units
