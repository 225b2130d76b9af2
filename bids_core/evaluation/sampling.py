"""Chooses the next token of each answer, greedily or by sampling.

Each answer has its own random stream, seeded with the seed and the row's id, so sampling does not
depend on batching. The settings are applied in the same order as in transformers' `generate`.

Shapes: B unfinished answers, V vocabulary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import GenerationConfig


@dataclass(frozen=True)
class Choice:
    """How the tokens of one answer are chosen.

    Args:
        settings: temperature and the like.
        seed: seed for sampling.
        row_id: id of the row being answered.
    """

    settings: GenerationConfig
    seed: int
    row_id: str
    _stream: torch.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(f"{self.seed} {self.row_id}".encode()).digest()
        stream = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        object.__setattr__(self, "_stream", stream)

    @property
    def is_plain(self) -> bool:
        """Whether it is simply the most likely token, independent of the text so far."""
        return self.settings.temperature == 0 and self.settings.repetition_penalty == 1

    def next_token(self, logits_V: torch.Tensor, before: Sequence[int]) -> int:
        """Return the next token.

        Args:
            logits_V: logits for it.
            before: token ids of prompt and answer so far.
        """
        scores = logits_V.float().cpu()[None]
        ids: Any = torch.tensor([list(before)])
        scores = _processors(self.settings)(ids, scores)
        if self.settings.temperature == 0:
            return int(scores.argmax())
        shares = torch.softmax(scores[0], dim=-1)
        return int(torch.multinomial(shares, 1, generator=self._stream))


def _processors(settings: GenerationConfig) -> LogitsProcessorList:
    found = LogitsProcessorList()
    if settings.repetition_penalty != 1:
        found.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature == 0:
        return found
    found.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k is not None:
        found.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        found.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p > 0:
        found.append(MinPLogitsWarper(settings.min_p))
    return found
