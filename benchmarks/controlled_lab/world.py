"""The starting point of the open questions: a base model, one pool, its evidence, test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from controlled_lab.evidence import gather, token_rows, warm_up
from controlled_lab.model import Stack, pretrained
from controlled_lab.pools import make_pool
from controlled_lab.problems import TARGETS, draw
from controlled_lab.trial import SIDE_BY_SIDE, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import LlamaForCausalLM

    from controlled_lab.evidence import Evidence
    from controlled_lab.pools import Pool
    from controlled_lab.problems import Row

SETTINGS = Settings(pools=(), arms=())


@dataclass(frozen=True)
class World:
    """One seed: the rows that everything shares.

    Args:
        seed: of everything.
        pool: the rows to pick from.
        validation: instances, task by task.
        test: [tasks x rows, T] token ids.
    """

    seed: int
    pool: Pool
    validation: list[Row]
    test: torch.Tensor

    @classmethod
    def of(cls, pool: str, seed: int) -> World:
        """Draw the world."""
        rng = np.random.default_rng([seed, 2000])
        made = make_pool(pool, seed)
        validation = [row for task in made.targets for row in draw(task, SETTINGS.instances, rng)]
        test = torch.cat([token_rows(draw(task, SETTINGS.test_rows, rng)) for task in TARGETS])
        return cls(seed, made, validation, test)

    def model(
        self, *, seed: int | None = None, hidden: int = 64, layers: int = 2
    ) -> LlamaForCausalLM:
        """Return a pretrained model, this world's own if no seed is given."""
        seed = self.seed if seed is None else seed
        rng = np.random.default_rng([seed, 3000])
        steps = SETTINGS.pretraining_steps
        return pretrained(seed, rng, steps=steps, hidden=hidden, layers=layers)

    def evidence(self, base: LlamaForCausalLM) -> Evidence:
        """Run the warmup on the pool and return the inputs of methods."""
        (checkpoints,) = warm_up(
            base, [self.pool], share=SETTINGS.warmup_share, epochs=SETTINGS.warmup_epochs,
            lr=SETTINGS.lr, seed=self.seed,
        )  # fmt: skip
        return gather(base, self.pool, self.validation, checkpoints, estimators=("adam",))

    def losses(
        self, base: LlamaForCausalLM, subsets: Sequence[npt.NDArray[np.int64]]
    ) -> npt.NDArray[np.float64]:
        """Return the mean test loss of each target task after each subset, [subsets, tasks].

        All subsets have the same size; an empty one stands for the base model.
        """
        tokens = token_rows(self.pool.rows)
        found = []
        for first in range(0, len(subsets), SIDE_BY_SIDE):
            part = subsets[first : first + SIDE_BY_SIDE]
            stack = Stack(base, len(part), seed=self.seed)
            if len(part[0]):
                rows = torch.stack([tokens[subset] for subset in part])
                stack.fine_tune(rows, epochs=SETTINGS.epochs, lr=SETTINGS.lr, seed=self.seed)
            losses = stack.test_losses(self.test)
            found.append(losses.view(len(part), len(TARGETS), -1).mean(2).double().numpy())
        kept = [place for place, task in enumerate(TARGETS) if task in self.pool.targets]
        return np.concatenate(found)[:, kept]
