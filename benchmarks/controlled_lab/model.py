"""A small Llama, and many LoRA adapters on it, trained in parallel.

`Stack` puts K LoRA adapters into the Hugging Face model itself: a batch of K x B rows goes through
the shared frozen weights at once, and through each adapter for its own B rows. AdamW works entry by
entry, so the sum of the K losses trains each adapter as if it were alone. This way thousands of
fine-tuning runs take minutes on one core.

Shapes: K adapters, B rows of one adapter's batch, T tokens, R rank.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from controlled_lab.problems import LENGTH, TASKS, VOCABULARY, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

RANK = 8
SCALE = 2
"""Scale of an adapter's output: alpha over rank."""
BATCH = 16
PRETRAINING_BATCH = 32


def pretrained(
    seed: int, rng: np.random.Generator, *, steps: int, hidden: int = 64, layers: int = 2
) -> LlamaForCausalLM:
    """Return the Llama after briefly training all weights on all twelve tasks."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=32,
        attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    names = list(TASKS)
    for _ in range(steps):
        rows = [draw(names[rng.integers(len(names))], 1, rng)[0] for _ in range(PRETRAINING_BATCH)]
        tokens_BT = torch.tensor([row.tokens().tolist() for row in rows])
        optimizer.zero_grad()
        answer_losses(model, tokens_BT).mean().backward()
        optimizer.step()
    return model.requires_grad_(False)


def answer_losses(model: nn.Module, tokens_BT: torch.Tensor) -> torch.Tensor:
    """Return each row's mean cross-entropy over its answer, [B]."""
    hidden = model.model(input_ids=tokens_BT[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, -LENGTH:])
    targets = tokens_BT[:, -LENGTH:]
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def adapted(base: LlamaForCausalLM, seed: int, *, rank: int = RANK) -> nn.Module:
    """Return a copy of the model with one fresh adapter made by PEFT, with the same scale."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=rank * SCALE, target_modules="all-linear")
    return get_peft_model(copy.deepcopy(base), config)


class StackedLora(nn.Module):
    """A frozen linear layer with K adapters, for input with its rows ordered by adapter."""

    def __init__(self, layer: nn.Module, count: int) -> None:
        super().__init__()
        self.base = layer.base_layer
        first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        self.a_KRI = nn.Parameter(first.detach().expand(count, -1, -1).clone())
        self.b_KOR = nn.Parameter(second.detach().expand(count, -1, -1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = len(self.a_KRI)
        shared = self.base.weight.expand(count, -1, -1)
        merged = torch.baddbmm(shared, self.b_KOR, self.a_KRI, alpha=SCALE)
        split = x.reshape(count, -1, x.shape[-1])
        return torch.bmm(split, merged.transpose(1, 2)).view(*x.shape[:-1], -1)


class Stack:
    """K copies of one fresh adapter on one base model.

    Args:
        base: the pretrained model; not changed.
        count: K.
        seed: of the adapter's initial values, the same for all.
        rank: R.
    """

    def __init__(self, base: LlamaForCausalLM, count: int, *, seed: int, rank: int = RANK) -> None:
        self.model = adapted(base, seed, rank=rank).get_base_model()
        self.count = count
        self.layers: dict[str, StackedLora] = {}
        for name, module in list(self.model.named_modules()):
            if hasattr(module, "lora_A"):
                stacked = StackedLora(module, count)
                parent, _, child = name.rpartition(".")
                setattr(self.model.get_submodule(parent), child, stacked)
                self.layers[name] = stacked

    def parameters(self) -> list[nn.Parameter]:
        """Return the adapters' weights, [K, ...] each."""
        return [p for layer in self.layers.values() for p in (layer.a_KRI, layer.b_KOR)]

    def losses(self, tokens_KBT: torch.Tensor) -> torch.Tensor:
        """Return the answer losses of each adapter's rows, [K, B]."""
        return answer_losses(self.model, tokens_KBT.flatten(0, 1)).view(self.count, -1)

    def fine_tune(
        self,
        tokens_KNT: torch.Tensor,
        *,
        epochs: int,
        lr: float,
        seed: int,
        on_epoch: Callable[[torch.optim.Optimizer, float, int], None] | None = None,
    ) -> None:
        """Train each adapter on its own rows: AdamW, linear schedule, rows shuffled each epoch.

        Args:
            tokens_KNT: [K, N, T] token ids of each adapter's rows.
            epochs: passes over them.
            lr: learning rate of the first step; it decays to zero.
            seed: of the order of the rows.
            on_epoch: called with the optimizer, the epoch's mean learning rate and the steps so
                far.
        """
        optimizer = torch.optim.AdamW(self.parameters(), lr=lr, weight_decay=0.0, fused=True)
        generator = torch.Generator().manual_seed(seed)
        n_rows = tokens_KNT.shape[1]
        total = epochs * -(-n_rows // BATCH)
        step = 0
        for _ in range(epochs):
            rates = []
            for rows in torch.randperm(n_rows, generator=generator).split(BATCH):
                rates.append(lr * (1 - step / total))
                optimizer.param_groups[0]["lr"] = rates[-1]
                optimizer.zero_grad()
                self.losses(tokens_KNT[:, rows]).mean(1).sum().backward()
                optimizer.step()
                step += 1
            if on_epoch is not None:
                on_epoch(optimizer, sum(rates) / len(rates), step)

    @torch.no_grad()
    def test_losses(self, tokens_NT: torch.Tensor) -> torch.Tensor:
        """Return every adapter's loss on every row, [K, N]."""
        parts = [self.losses(part.expand(self.count, -1, -1)) for part in tokens_NT.split(BATCH)]
        return torch.cat(parts, dim=1)
