"""Tokenizers that panic: turns a Rust error that is not an Exception into a one-line error.

A tokenizer.json can be readable and still be wrong: an index beyond a table, an expression that
gives up, a length of zero. The library then panics at the first text that reaches the fault, and
what it raises (`PanicException`, a BaseException) passes every handler. So transformers' two calls
into that library are wrapped, for all callers: rows, prompts, benchmark suites, answers.
safetensors, another Rust library, raised plain errors for each of 30,000 damaged files.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from bids_core.errors import ModelError
from bids_core.formatting import brief
from bids_core.models.tokenizer_growth import require_room

if TYPE_CHECKING:
    from collections.abc import Callable

_WAYS_IN: Final = ("_encode_plus", "_decode")
_WRAPPED: Final = "_bids_wrapped"


def is_panic(error: BaseException) -> bool:
    """Return whether a Rust library panicked; each has its own class, which cannot be imported."""
    return type(error).__name__ == "PanicException"


def wrap_tokenizers() -> None:
    """Make panics of tokenizers arrive as ordinary errors, for every caller.

    Raises:
        RuntimeError: this version of transformers calls the library in another way.
    """
    from transformers import PreTrainedTokenizerFast

    for name in _WAYS_IN:
        # typed as Any: their stubs do not know this method
        method: Any = getattr(PreTrainedTokenizerFast, name, None)
        if method is None:
            msg = (
                f"this version of transformers has no {name}, so panics of tokenizers cannot be "
                "caught; install the version of constraints.txt"
            )
            raise RuntimeError(msg)
        if not hasattr(method, _WRAPPED):
            setattr(PreTrainedTokenizerFast, name, _wrapped(method))


def _wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    encodes = method.__name__ == _WAYS_IN[0]

    @functools.wraps(method)
    def call(tokenizer: Any, *arguments: Any, **options: Any) -> Any:
        try:
            if encodes:
                require_room(
                    tokenizer, [*arguments[:2], options.get("text"), options.get("text_pair")]
                )
            return method(tokenizer, *arguments, **options)
        except BaseException as error:
            # errors of the library other than panics are plain `Exception`s
            if not is_panic(error) and type(error) is not Exception:
                raise
            folder = getattr(tokenizer, "name_or_path", "") or "the model"
            msg = (
                f"model.path: the tokenizer of {folder} fails on a text ({brief(error)}); its "
                "tokenizer.json is damaged, or was not made for such texts: fetch it again"
            )
            raise ModelError(msg) from error

    setattr(call, _WRAPPED, True)
    return call
