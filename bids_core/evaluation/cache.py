"""Which uses of a model's cache are correct, determined once per model by a small probe.

Scores must equal those of whole texts read without a cache. This is not a given for models with
stateful layers: some cannot read several tokens after a cache (Jamba is off by nats), some give
wrong tokens after one (Mamba). So three random texts of different lengths are read alone, padded,
and in every way a cache is used; a use whose result differs from the text read alone is avoided. If
the texts to evaluate are longer than the model's attention window, so is the longest of the three.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import copy
import logging
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from bids_core.evaluation.reading import left_padded, read, right_padded, select_rows
from bids_core.models.facts import attention_window, vocabulary_size
from bids_core.models.loss import causal_lm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel

    Rows = Sequence[torch.Tensor]

logger = logging.getLogger(__name__)

_PROMPTS: Final = (13, 4, 9)
_COMPLETIONS: Final = (5, 2, 4)
_VOCABULARY: Final = 256
"""Number of token ids to draw from, if the model's configuration does not state its vocabulary."""
_TOLERANCE: Final = {torch.float32: 1e-3, torch.float64: 1e-6}
_LOW_PRECISION_TOLERANCE: Final = 0.1
"""Largest relative difference of logits (in norm) that rounding can cause."""
_FAILURES: Final = (
    AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The uses that are correct.

    Args:
        pads: read texts of different lengths in one batch.
        completions: read several tokens after a cache.
        answers: read one token at a time after a cache.
        rows: remove or repeat rows of a cache.
    """

    pads: bool = True
    completions: bool = True
    answers: bool = True
    rows: bool = True

    @property
    def branches(self) -> bool:
        """Whether several completions can share one reading of their prompt."""
        return self.completions and self.rows

    def remarks(self) -> list[str]:
        """Return what is avoided, in words."""
        found = []
        if not self.pads:
            found.append("padding changes this model's scores, so texts are read one at a time")
        if not self.answers:
            found.append(
                "no cache is used, because this model's cache changes its scores: each new "
                "token of an answer reads the whole text again"
            )
        elif not self.completions:
            found.append(
                "reading several tokens after this model's cache changes its scores, so a "
                "prompt is read again for each of its completions"
            )
        if self.answers and not self.rows:
            found.append(
                "rows cannot be removed from this model's cache, so finished answers stay in "
                "their batch"
            )
        return found


_plans: weakref.WeakKeyDictionary[Any, dict[int, CachePlan]] = weakref.WeakKeyDictionary()


@torch.inference_mode()
def cache_plan(model: PreTrainedModel, *, longest: int = 0) -> CachePlan:
    """Return which uses of the model's cache are correct; probed on the first call.

    Args:
        model: in evaluation mode, on its device.
        longest: tokens of the longest text to evaluate, including its answer.
    """
    window = attention_window(causal_lm(model).config) or 0
    reach = min(longest, window + sum(_PROMPTS)) if 0 < window < longest else 0
    known = _plans.setdefault(model, {})
    if reach not in known:
        known[reach] = plan = _probe(model, reach)
        for remark in plan.remarks():
            logger.warning("%s", remark)
    return known[reach]


def _probe(model: PreTrainedModel, reach: int) -> CachePlan:
    size = vocabulary_size(causal_lm(model).config) or _VOCABULARY
    generator = torch.Generator().manual_seed(0)

    def drawn(n: int) -> torch.Tensor:
        return torch.randint(size, (n,), generator=generator)

    prompts = [drawn(n) for n in (max(_PROMPTS[0], reach), *_PROMPTS[1:])]
    tails = [drawn(n) for n in _COMPLETIONS]
    texts = list(zip(prompts, tails, strict=True))
    alone = [_alone(model, prompt, tail) for prompt, tail in texts]

    def agrees(
        way: Callable[[PreTrainedModel, Rows, Rows], Rows], batches: list[list[int]]
    ) -> bool:
        try:
            for batch in batches:
                found = way(model, [prompts[i] for i in batch], [tails[i] for i in batch])
                if not all(
                    _close(model, one, alone[i]) for one, i in zip(found, batch, strict=True)
                ):
                    return False
        except _FAILURES as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.info("the model's cache cannot be used (%s): %s", way.__name__, reason)
            return False
        return True

    single = [[index] for index in range(len(texts))]
    pads = agrees(_padded, [[0, 1, 2]])
    batches = [[0, 1, 2]] if pads else single
    answers = agrees(_one_at_a_time, batches)
    return CachePlan(
        pads=pads,
        completions=agrees(_several_at_once, batches),
        answers=answers,
        rows=answers and agrees(_taken_apart, batches),
    )


def _alone(model: PreTrainedModel, prompt: torch.Tensor, tail: torch.Tensor) -> torch.Tensor:
    """Return the logits that predict a tail and the token after it, from reading a single text."""
    ids = torch.cat([prompt, tail])[None].to(model.device)
    logits, _ = read(model, ids, torch.ones_like(ids), keep=len(tail) + 1, remember=False)
    return logits[0]


def _padded(model: PreTrainedModel, prompts: Rows, tails: Rows) -> Rows:
    ids, mask = left_padded([[*p, *t] for p, t in zip(prompts, tails, strict=True)],
                            device=model.device)  # fmt: skip
    logits, _ = read(model, ids, mask, keep=max(len(t) for t in tails) + 1, remember=False)
    return [row[-len(tail) - 1 :] for row, tail in zip(logits, tails, strict=True)]


def _prompts_read(model: PreTrainedModel, prompts: Rows) -> tuple[Any, torch.Tensor]:
    """Read prompts without their last token, as in evaluation."""
    ids, mask = left_padded([prompt[:-1].tolist() for prompt in prompts], device=model.device)
    return read(model, ids, mask, keep=1)[1], mask


def _behind(prompts: Rows, tails: Rows) -> list[list[int]]:
    return [[int(p[-1]), *t.tolist()] for p, t in zip(prompts, tails, strict=True)]


def _several_at_once(model: PreTrainedModel, prompts: Rows, tails: Rows) -> Rows:
    cache, mask = _prompts_read(model, prompts)
    ids, more = right_padded(_behind(prompts, tails), device=model.device)
    logits, _ = read(model, ids, torch.cat([mask, more], dim=1), cache=copy.deepcopy(cache))
    return [row[: len(tail) + 1] for row, tail in zip(logits, tails, strict=True)]


def _one_at_a_time(model: PreTrainedModel, prompts: Rows, tails: Rows) -> Rows:
    """Continue all rows to the end of the longest; a finished row repeats its last token."""
    cache, mask = _prompts_read(model, prompts)
    behind = _behind(prompts, tails)
    found: list[list[torch.Tensor]] = [[] for _ in behind]
    for step in range(max(len(row) for row in behind)):
        ids = torch.tensor([[row[min(step, len(row) - 1)]] for row in behind], device=model.device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        logits, cache = read(model, ids, mask, cache=cache)
        for row, (tokens, into) in enumerate(zip(behind, found, strict=True)):
            if step < len(tokens):
                into.append(logits[row, -1])
    return [torch.stack(row) for row in found]


def _taken_apart(model: PreTrainedModel, prompts: Rows, tails: Rows) -> Rows:
    """Continue with each row doubled; finished rows are removed."""
    cache, mask = _prompts_read(model, prompts)
    behind = _behind(prompts, tails)
    found: list[list[torch.Tensor]] = [[] for _ in behind]
    going = [row for row in range(len(behind)) for _ in range(2)]
    select_rows(cache, torch.tensor(going, device=model.device))
    mask = mask[going]
    step = 0
    while going:
        ids = torch.tensor([[behind[row][step]] for row in going], device=model.device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        logits, cache = read(model, ids, mask, cache=cache)
        for place, row in enumerate(going):
            if going.index(row) == place:
                found[row].append(logits[place, -1])
        step += 1
        kept = [place for place, row in enumerate(going) if step < len(behind[row])]
        if 0 < len(kept) < len(going):
            select_rows(cache, torch.tensor(kept, device=model.device))
            mask = mask[kept]
        going = [going[place] for place in kept]
    return [torch.stack(row) for row in found]


def _close(model: PreTrainedModel, one: torch.Tensor, other: torch.Tensor) -> bool:
    inner: Any = causal_lm(model)
    tolerance = _TOLERANCE.get(inner.dtype, _LOW_PRECISION_TOLERANCE)
    one, other = (logits.float() - logits.float().mean(-1, keepdim=True) for logits in (one, other))
    return bool((one - other).norm() <= tolerance * other.norm() + 1e-30)
