"""Reads each prompt once, and scores completions after it.

The model reads a prompt without its last token, which fills a cache. Everything else continues from
there: each choice, the reference answer, the generated one.

Shapes: B prompts in a batch, T tokens in a prompt, R completions of all prompts in a batch, S
tokens in a completion (preceded by the prompt's last token).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_core.evaluation.likelihood import Scored, score_row
from bids_core.evaluation.reading import left_padded, read, right_padded, select_rows
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import PreTrainedModel

    from bids_core.records import TokenizedExample


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and its completions, split into a shared part and a tail for each.

    Args:
        shared: token ids that go into the cache.
        tails: token ids of each completion, from the prompt's last token to its last label.
        labels: their labels.
    """

    shared: npt.NDArray[np.int32]
    tails: tuple[npt.NDArray[np.int32], ...]
    labels: tuple[npt.NDArray[np.int32], ...]

    @classmethod
    def of(cls, group: Sequence[TokenizedExample]) -> Prompt:
        """Split a group.

        Raises:
            ValueError: its examples do not share a prompt of at least two tokens.
        """
        size = _common_tokens(group)
        if size < 1:
            msg = (
                f"the completions of row {group[0].row_id!r} share no prompt of two tokens or more"
            )
            raise ValueError(msg)
        ends = [int(np.flatnonzero(e.labels != IGNORED_LABEL)[-1]) + 1 for e in group]
        return cls(
            shared=group[0].input_ids[:size],
            tails=tuple(e.input_ids[size:end] for e, end in zip(group, ends, strict=True)),
            labels=tuple(e.labels[size:end] for e, end in zip(group, ends, strict=True)),
        )

    @property
    def n_tokens(self) -> int:
        """Total number of tokens to read."""
        return len(self.shared) + sum(len(tail) for tail in self.tails)


def _common_tokens(group: Sequence[TokenizedExample]) -> int:
    """Return the number of common leading tokens, without the last one before the labels."""
    limit = min(int(np.argmax(example.labels != IGNORED_LABEL)) for example in group) - 1
    rows = np.stack([example.input_ids[:limit] for example in group])
    same = (rows == rows[0]).all(axis=0)
    return limit if same.all() else int(same.argmin())


def read_prompts(model: PreTrainedModel, prompts: Sequence[Prompt]) -> tuple[Any, torch.Tensor]:
    """Read the shared part of each prompt.

    Returns:
        The cache, and its attention mask [B, T].
    """
    ids_BT, mask_BT = left_padded([prompt.shared for prompt in prompts], device=model.device)
    return read(model, ids_BT, mask_BT, keep=1)[1], mask_BT


def score_completions(
    model: PreTrainedModel, prompts: Sequence[Prompt], cache: Any, mask_BT: torch.Tensor
) -> list[list[Scored]]:
    """Score each completion of each prompt from the cache of `read_prompts`, which is consumed."""
    owner = [index for index, prompt in enumerate(prompts) for _ in prompt.tails]
    owner_R = torch.tensor(owner, device=model.device)
    if len(owner) > len(prompts):
        select_rows(cache, owner_R)
    ids_RS, mask_RS = right_padded([t for p in prompts for t in p.tails], device=model.device)
    mask = torch.cat([mask_BT[owner_R], mask_RS], dim=1)
    logits_RSV, _ = read(model, ids_RS, mask, cache=cache)
    labels = [torch.from_numpy(row.astype(np.int64)) for p in prompts for row in p.labels]
    scored = iter(
        score_row(logits[: len(row)], row) for logits, row in zip(logits_RSV, labels, strict=True)
    )
    return [[next(scored) for _ in prompt.tails] for prompt in prompts]
