"""Memory of a stage: weights, training state, and what a forward pass keeps for the backward one.

Counted from a model's sizes, for the way `transformers` and PEFT run a Llama-like decoder; a test
compares the count with the tensors that autograd saves. Not included: EK-FAC's factors, and tables
of attention scores (where those would be large, kernels without them are used).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from bids_core.models.loss import causal_lm, output_head

if TYPE_CHECKING:
    from peft import PeftModel

_FLOAT32: Final = 4
_PROGRAM: Final = 2**30
"""Fixed bytes: Python, torch, the data, or a GPU's context."""
_ALLOCATOR: Final = 1.25
"""Memory held by an allocator relative to memory in use: blocks of changing sizes leave gaps."""
_STATE: Final = 16
"""Bytes of a trained parameter in float32: weight, gradient and two moments."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a model with adapters.

    Args:
        n_parameters: of the base model.
        n_trainable: adapter parameters D.
        model_bytes: of the base weights as loaded.
        hidden_size: width of the hidden states.
        n_layers: decoder layers.
        intermediate_size: width inside the MLP.
        query_width: query heads times their width.
        key_width: key heads times their width.
        vocabulary: rows of the output head.
        adapter_inputs: float32 numbers that all adapters together keep per token: the input widths
            of the adapted layers, and dropout's masks.
        element_bytes: bytes of a number in the base model's dtype.
        checkpointing: whether activations are recomputed instead of kept.
    """

    n_parameters: int
    n_trainable: int
    model_bytes: int
    hidden_size: int
    n_layers: int
    intermediate_size: int
    query_width: int
    key_width: int
    vocabulary: int
    adapter_inputs: int
    element_bytes: int = 2
    checkpointing: bool = False

    @classmethod
    def of(cls, model: PeftModel, *, checkpointing: bool = False) -> ModelSize:
        """Read the sizes off a model with adapters."""
        inner: Any = causal_lm(model)
        config = inner.config.get_text_config()
        hidden = int(config.hidden_size)
        heads = int(getattr(config, "num_attention_heads", None) or 1)  # Mamba has none
        width = int(getattr(config, "head_dim", None) or hidden // heads)
        keys = int(getattr(config, "num_key_value_heads", None) or heads)
        frozen = [p for p in model.parameters() if not p.requires_grad]
        head = output_head(model)
        return cls(
            n_parameters=sum(p.numel() for p in frozen),
            n_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
            model_bytes=sum(p.numel() * p.element_size() for p in frozen),
            hidden_size=hidden,
            n_layers=int(config.num_hidden_layers),
            intermediate_size=_largest(getattr(config, "intermediate_size", None) or 4 * hidden),
            query_width=heads * width,
            key_width=keys * width,
            vocabulary=int(config.vocab_size),
            adapter_inputs=sum(
                _width(module)
                for module in model.modules()
                if isinstance(getattr(module, "lora_A", None), torch.nn.ModuleDict)
            ),
            element_bytes=2 if head is None else next(head.parameters()).element_size(),
            checkpointing=checkpointing,
        )

    def training_bytes(self, *, full: bool = False) -> int:
        """Return the bytes that a token's forward pass keeps for the backward pass.

        Args:
            full: whether all weights are trained, not only adapters.
        """
        hidden, element, layers = self.hidden_size, self.element_bytes, self.n_layers
        norms = 2 * _FLOAT32 * hidden * (2 if full else 1)
        attention = element * 2 * (self.query_width + self.key_width)
        mlp = element * 3 * self.intermediate_size
        inputs = _FLOAT32 * self.adapter_inputs // layers  # adapters read a float32 copy
        if full:
            inputs = element * (5 * hidden + self.query_width + self.intermediate_size)
        layer = norms + attention + mlp + inputs
        if self.checkpointing:
            return layers * element * hidden + layer
        return layers * layer

    def logit_bytes(self) -> int:
        """Return the bytes for the loss of one label: logits, a float32 copy, its log-softmax."""
        return self.vocabulary * (self.element_bytes + 2 * _FLOAT32)

    def reading_bytes(self) -> int:
        """Return a token's bytes without gradients: keys and values twice, one layer's work."""
        element = self.element_bytes
        cache = 2 * 2 * self.n_layers * self.key_width * element
        return cache + 2 * _FLOAT32 * self.hidden_size + 3 * element * self.intermediate_size


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tokens of the largest batch of a stage, and how many of them are labels."""

    tokens: int
    labels: int

    @classmethod
    def of(cls, budget: int, *, longest: int, label_share: float, rows: int | None = None) -> Batch:
        """Return the largest batch within a budget of tokens; a single row may exceed it.

        Args:
            budget: `tokens_per_batch`.
            longest: tokens of the longest row.
            label_share: share of labels among the tokens.
            rows: maximum rows of a batch.
        """
        within = max(1, budget // max(1, longest))
        tokens = longest * (within if rows is None else min(within, rows))
        return cls(tokens, round(label_share * tokens))


def training_memory(size: ModelSize, batch: Batch, *, full: bool = False) -> int:
    """Return the memory of a training, or of per-example gradients."""
    kept = batch.tokens * size.training_bytes(full=full) + batch.labels * size.logit_bytes()
    weights = size.model_bytes + _STATE * size.n_trainable
    if full:
        weights = (_STATE + size.element_bytes) * size.n_parameters
    return _PROGRAM + weights + int(_ALLOCATOR * kept)


def evaluation_memory(size: ModelSize, batch: Batch) -> int:
    """Return the memory of an evaluation."""
    kept = batch.tokens * size.reading_bytes() + batch.labels * size.logit_bytes()
    weights = size.model_bytes + _FLOAT32 * size.n_trainable
    return _PROGRAM + weights + int(_ALLOCATOR * kept)


def _width(module: Any) -> int:
    """Return how many numbers an adapter keeps per token: its input, and dropout's mask."""
    width = int(getattr(module, "in_features", 0))  # embeddings have none
    dropouts = [drop for drop in module.lora_dropout.values() if getattr(drop, "p", 0.0)]
    if not dropouts:
        return width
    on_cpu = next(module.parameters()).device.type == "cpu"
    return 2 * width if on_cpu else width + width // 4  # elsewhere a mask is float32, here a byte


def _largest(sizes: int | list[int]) -> int:
    """Return a size; the largest, for models (Gemma 3n) that have one per layer."""
    return max(sizes) if isinstance(sizes, list | tuple) else int(sizes)
