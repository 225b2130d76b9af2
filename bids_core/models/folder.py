"""Limits on a model's folder: it may not point outside itself or name code of its own.

transformers follows an adapter's base model, an index of weights and the name of an attention
kernel wherever they point, even to the hub, whatever `trust_remote_code` says.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bids_core.artifacts import read_small_json
from bids_core.errors import BidsError, ModelError
from bids_core.models.panics import is_panic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from transformers import PreTrainedModel

    from bids_core.config import ModelConfig


def check_folder(folder: Path, config: ModelConfig) -> None:
    """Refuse a folder that points outside itself.

    Args:
        folder: of the model, on this disk.
        config: whose model it is.

    Raises:
        ModelError: it holds an adapter, or an index that names weights elsewhere, or it names a
            kernel on the hub while `trust_remote_code` is off.
    """
    if (folder / "adapter_config.json").exists():
        msg = (
            f"model.path: {config.path} holds an adapter (adapter_config.json); merge it into its"
            " base model (peft's merge_and_unload), and give that folder"
        )
        raise ModelError(msg)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        for name in _values(_read(index, config), "weight_map"):
            if PurePath(str(name)).name != name:
                msg = f"model.path: {index.name} of {config.path} names weights elsewhere ({name})"
                raise ModelError(msg)
    settings = _read(folder / "config.json", config)
    if not config.trust_remote_code:
        for name in _named(settings, ("attn_implementation", "_attn_implementation")):
            if "/" in name:
                msg = (
                    f"model.path: config.json of {config.path} asks for a kernel from the hub "
                    f"({name}), which is code; remove attn_implementation, or set "
                    "model.trust_remote_code: true if you trust it"
                )
                raise ModelError(msg)


def check_weights(folder: Path, skeleton: PreTrainedModel, config: ModelConfig) -> None:
    """Refuse a configuration that asks for far more weights than the folder holds.

    transformers initialises missing weights at random, so a few lines of JSON could fill memory.

    Args:
        folder: of the model.
        skeleton: the model without weights.
        config: whose model it is.

    Raises:
        ModelError: the files could not hold the parameters even at one bit each.
    """
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    asked = sum(parameter.numel() for parameter in skeleton.parameters())
    if stored and asked > 8 * stored:
        msg = (
            f"model.path: config.json of {config.path} asks for {asked:,} parameters, but its "
            f"weights have only {stored:,} bytes; fetch the model again"
        )
        raise ModelError(msg)


def require_all(missing: Iterable[str], config: ModelConfig) -> None:
    """Refuse a model with missing weights, which transformers would initialise at random.

    Raises:
        ModelError: weights are missing.
    """
    names = sorted(missing)
    if names:
        msg = (
            f"model.path: the files of {config.path} lack {len(names)} of the model's weights, the"
            f" first being {names[0]}; fetch the model again"
        )
        raise ModelError(msg)


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn whatever transformers raises for a folder's files into a one-line error.

    A damaged file causes errors of many libraries; tokenizers raises plain `Exception`, or panics.

    Args:
        what: the key and the failed action, for the message.

    Raises:
        ModelError: an error was raised.
    """
    try:
        yield
    except (BidsError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise  # Ctrl-C
        if "OutOfMemory" in type(error).__name__:  # torch's: retried with less
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        msg = f"{what}: {' '.join(lines[:2]) or type(error).__name__}"
        raise ModelError(msg) from error


def _read(path: Path, config: ModelConfig) -> dict[str, Any]:
    try:
        found = read_small_json(path)
    except (OSError, ValueError) as error:
        msg = f"model.path: {path.name} of {config.path} cannot be read: {error}"
        raise ModelError(msg) from error
    if not isinstance(found, dict):
        msg = f"model.path: {path.name} of {config.path} is not a JSON object"
        raise ModelError(msg)
    return found


def _values(settings: dict[str, Any], key: str) -> list[Any]:
    found = settings.get(key)
    return list(found.values()) if isinstance(found, dict) else []


def _named(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts under the given keys, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
            elif key in keys and isinstance(inner, dict):
                yield from map(str, inner.values())
            else:
                yield from _named(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, keys)
