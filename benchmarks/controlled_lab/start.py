"""What all ways to compute influence share on one seed of the controlled world.

The pool is half off target. The warmup trains on a quarter of it for four epochs. Everything is
drawn and trained once per seed, so that comparisons are paired.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from controlled_lab.evidence import warm_up
from controlled_lab.model import adapted
from controlled_lab.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy.typing as npt
    from torch import nn
    from transformers import LlamaForCausalLM

    from bids_core.records import TokenizedExample
    from controlled_lab.evidence import Checkpoint

    Ints = npt.NDArray[np.int64]

POOL = "half_off_target"
SHARE, EPOCHS, LR = 0.25, 4, 3e-3
BUDGET = 80
"""10% of the pool."""
SAMPLE = 40
"""Random rows in addition to a screen's."""
SMALLER = {"1/8": {"hidden": 32, "layers": 1}, "1/2": {"hidden": 64, "layers": 1}}
"""Smaller models, by the share of weights in their layers; the model itself has 64 and 2."""


@dataclass(frozen=True)
class Chooser:
    """A model that provides influence, and its warmup on the pool.

    Args:
        model: with an adapter.
        checkpoints: of the warmup, one per epoch.
        epoch_seconds: processor time of an epoch.
    """

    model: nn.Module
    checkpoints: list[Checkpoint]
    epoch_seconds: float

    @classmethod
    def of(cls, base: LlamaForCausalLM, world: World) -> Chooser:
        """Run the warmup."""
        began = time.process_time()
        (checkpoints,) = warm_up(
            base, [world.pool], share=SHARE, epochs=EPOCHS, lr=LR, seed=world.seed
        )
        seconds = (time.process_time() - began) / EPOCHS
        return cls(adapted(base, 0), checkpoints, seconds)


@dataclass(frozen=True)
class Start:
    """One seed.

    Args:
        world: pool, validation instances, test rows.
        base: the model that is fine-tuned on the picks.
        chooser: the same model, with its warmup.
        train: the pool's N rows.
        wanted: the M validation instances.
        texts: N + M texts.
        tasks: M tasks.
        drawn: the rows in random order; samples and landmarks are the first of them.
        random: random picks, the ones to beat.
    """

    world: World
    base: LlamaForCausalLM
    chooser: Chooser
    train: list[TokenizedExample]
    wanted: list[TokenizedExample]
    texts: list[str]
    tasks: list[str]
    drawn: Ints
    random: Ints

    @classmethod
    def of(cls, seed: int) -> Start:
        """Draw the world, pretrain its model and run the warmup."""
        world = World.of(POOL, seed)
        base = world.model()
        rows, instances = world.pool.rows, world.validation
        rng = np.random.default_rng([seed, 5000])
        return cls(
            world,
            base,
            Chooser.of(base, world),
            [row.example(f"row:{place}") for place, row in enumerate(rows)],
            [row.example(f"instance:{place}") for place, row in enumerate(instances)],
            [row.text() for row in (*rows, *instances)],
            [row.task for row in instances],
            rng.permutation(len(rows)),
            rng.permutation(len(rows))[:BUDGET],
        )

    @cached_property
    def smaller(self) -> dict[str, Chooser]:
        """Smaller models, pretrained in the same way, each with its own warmup."""
        return {
            name: Chooser.of(self.world.model(**shape), self.world)
            for name, shape in SMALLER.items()
        }

    def outcomes(
        self, picks: Mapping[str, Ints], seconds: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        """Return a row for each way, including `exact`: its cost, its picks and their test loss.

        Args:
            picks: of each way.
            seconds: processor time of everything before selection.
        """
        losses = self.world.losses(self.base, list(picks.values())).mean(axis=1)
        exact = set(picks["exact"].tolist())
        return [
            {
                "seed": self.world.seed,
                "setting": name,
                "cost_share": seconds[name] / seconds["exact"],
                "overlap": len(exact & set(chosen.tolist())) / BUDGET,
                "loss": float(loss),
            }
            for (name, chosen), loss in zip(picks.items(), losses, strict=True)
        ]
