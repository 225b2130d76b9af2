"""How rows are split into optimizer steps, and steps into forward passes.

The rows of a step depend on the data, the batch size and the number of processes, never on how many
tokens fit into memory. So a smaller `tokens_per_batch`, or starting over with half of it when
memory runs out, gives the same training (up to the order in which floats are added).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.data import Sampler

from bids_core.training.processes import world_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Sized

    from bids_core.config import OptimizerConfig
    from bids_core.records import TokenizedExample


@dataclass(frozen=True, slots=True)
class StepSizes:
    """The sizes of a training.

    Args:
        rows: examples of an optimizer step, in each process.
        micro: examples of a micro-batch (one forward pass), at most.
        accumulation: micro-batches of a step, in each process.
        steps: optimizer steps in all epochs.
    """

    rows: int
    micro: int
    accumulation: int
    steps: int

    @property
    def shape(self) -> list[int]:
        """What a checkpoint and the training that continues from it must have in common."""
        return [self.micro, self.accumulation, self.steps, world_size()]


def step_sizes(
    examples: Sequence[TokenizedExample], settings: OptimizerConfig, *, packing: bool
) -> StepSizes:
    """Split an optimizer step over processes, and into micro-batches within the token budget.

    Args:
        examples: the training examples.
        settings: batch size, tokens in a forward pass, epochs.
        packing: whether examples are laid end to end, so that their mean length matters.
    """
    lengths = [example.n_tokens for example in examples]
    each = math.ceil(sum(lengths) / len(lengths)) if packing else max(lengths)
    world = world_size()
    rows = math.ceil(min(settings.batch_size, len(examples)) / world)
    fitting = max(1, min(rows, settings.tokens_per_batch // each))
    if world > 1:  # accelerate distributes batches of equal size
        micro = max(size for size in range(1, fitting + 1) if rows % size == 0)
        accumulation = rows // micro
    else:
        accumulation = math.ceil(rows / fitting)
        micro = math.ceil(rows / accumulation)
    steps = math.ceil(len(examples) / (rows * world)) * settings.epochs
    return StepSizes(rows, micro, accumulation, steps)


class StepBatches(Sampler[list[int]]):
    """Micro-batches that never cross the end of their step, whatever their size.

    Args:
        order: of the examples.
        sizes: of the training.
    """

    def __init__(self, order: Sampler[int], sizes: StepSizes) -> None:
        self._order, self._sizes = order, sizes

    def __len__(self) -> int:
        order: Sized = self._order  # type: ignore[assignment]
        whole, rest = divmod(len(order), self._sizes.rows)
        return whole * self._sizes.accumulation + math.ceil(rest / self._sizes.micro)

    def __iter__(self) -> Iterator[list[int]]:
        step: list[int] = []
        for index in self._order:
            step.append(index)
            if len(step) == self._sizes.rows:
                yield from self._cut(step)
                step = []
        yield from self._cut(step)

    def _cut(self, step: list[int]) -> Iterator[list[int]]:
        micro = self._sizes.micro
        for start in range(0, len(step), micro):
            yield step[start : start + micro]
