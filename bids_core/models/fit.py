"""Checks that the data fits the model (token ids, lengths, adapters, packing), without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.errors import ModelError
from bids_core.models.facts import has_position_table, max_positions, vocabulary_size

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from bids_core.data import PreparedData


def check_fit(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, data: PreparedData
) -> list[str]:
    """Check that a model can read the tokenized data.

    Args:
        config: the model's.
        tokenizer: the one that made the tokens.
        data: the prepared rows.

    Returns:
        Warnings, one line each: what is allowed but may be a mistake.

    Raises:
        ModelError: a token id has no row in the embedding, or a row is longer than the model's
            table of positions.
    """
    size = vocabulary_size(config)
    if size is not None:
        _check_padding(tokenizer, size)
        for frame in (data.train.frame, data.validation.frame, data.test.frame):
            _check_ids(frame, tokenizer, size)
    longest = max_positions(config)
    if longest is None:
        return []
    frames = {"pool": data.train.frame, "validation": data.validation.frame}
    lines = [_too_long(name, frame, longest) for name, frame in frames.items()]
    problems = [line for line in lines if line is not None]
    if problems and has_position_table(config):
        raise ModelError(f"{problems[0]}; set data.max_length to {longest} or less")
    return [f"{line}: it was not trained on such positions" for line in problems]


def _check_padding(tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    pad: Any = tokenizer.pad_token_id
    if int(pad) >= size:
        msg = (
            f"model.path: the tokenizer pads with {tokenizer.pad_token!r}, id {pad}, but the "
            f"model's embedding has {size} rows; give the tokenizer a padding token that the model "
            "knows, or resize the embedding"
        )
        raise ModelError(msg)


def _check_ids(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    largest = [int(np.max(ids)) if len(ids) else 0 for ids in frame["input_ids"]]
    beyond = [place for place, token in enumerate(largest) if token >= size]
    if beyond:
        place = beyond[0]
        raise ModelError(
            unknown_id(str(frame["location"].iloc[place]), largest[place], tokenizer, size)
            + (f" ({len(beyond)} such rows)" if len(beyond) > 1 else "")
        )


def unknown_id(location: str, token: int, tokenizer: PreTrainedTokenizerBase, size: int) -> str:
    """Return the message that a row holds a token without an embedding."""
    return (
        f"{location}: token {tokenizer.convert_ids_to_tokens(token)!r} has id {token}, but "
        f"the model's embedding has {size} rows; the tokenizer belongs to another model, or "
        "has added tokens: use the model's own tokenizer, or resize its embedding"
    )


def _too_long(name: str, frame: pd.DataFrame, longest: int) -> str | None:
    lengths = frame["n_tokens"] if len(frame) else None
    if lengths is None or int(lengths.max()) <= longest:
        return None
    return (
        f"{int((lengths > longest).sum())} {name} rows are longer than the model's {longest} "
        f"positions (the longest has {int(lengths.max())} tokens)"
    )
