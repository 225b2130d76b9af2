"""One hidden state per row: the last token's (RDS), or a weighted mean (RDS+).

Shapes: H hidden size, B rows of a batch, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
