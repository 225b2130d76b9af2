"""Facts about a model from its configuration: sizes, windows, states, kinds of layers.

A multimodal model keeps these in the configuration of its language model (`get_text_config`); for a
text model that is the configuration itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_core.models.loss import causal_lm

if TYPE_CHECKING:
    from torch import nn


def language_config(config: Any) -> Any:
    """Return the configuration of the language model, a part or all of the model's."""
    return config.get_text_config()


def is_composite(config: Any) -> bool:
    """Return whether the language model is a part of a larger, multimodal one."""
    return language_config(config) is not config


def vocabulary_size(config: Any) -> int | None:
    """Return how many rows the embedding has, None if the configuration does not say."""
    size = getattr(language_config(config), "vocab_size", None)
    return None if size is None else int(size)


def max_positions(config: Any) -> int | None:
    """Return the longest sequence the model was made for; None if not stated."""
    longest = getattr(language_config(config), "max_position_embeddings", None)
    return None if longest is None else int(longest)


def has_position_table(config: Any) -> bool:
    """Return whether positions are a table of vectors (GPT-2, OPT), so that longer rows are errors.

    Rotary positions have no hard limit but degrade; recurrent layers need none.
    """
    text = language_config(config)
    rotary = getattr(text, "rope_parameters", None) or getattr(text, "rope_theta", None)
    recurrent = "linear_attention" in (getattr(text, "layer_types", None) or ())
    return max_positions(config) is not None and not rotary and not recurrent


def attention_window(config: Any) -> int | None:
    """Return the shortest attention window of any layer, None if all layers see everything."""
    text = language_config(config)
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds and not any("sliding" in kind or "chunked" in kind for kind in kinds):
        return None
    windows = [
        int(size)
        for size in (
            getattr(text, "sliding_window", None),
            getattr(text, "attention_chunk_size", None),
        )
        if size
    ]
    return min(windows, default=None)


def keeps_a_state(model: nn.Module) -> bool:
    """Return whether a layer is recurrent and keeps a state (Mamba, linear attention)."""
    inner = causal_lm(model)
    kinds = getattr(language_config(inner.config), "layer_types", None) or ()
    return any(getattr(module, "_is_stateful", False) for module in inner.modules()) or any(
        kind in {"linear_attention", "conv"} or kind.startswith("hybrid") for kind in kinds
    )
