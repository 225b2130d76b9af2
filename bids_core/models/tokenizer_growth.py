"""How many characters a tokenizer makes of one: a bound, and what is refused because of it.

A few hundred bytes of tokenizer.json can replace a letter by a hundred, six times over, and the
process that tokenizes dies when memory ends, without an error to catch. So the parts of a tokenizer
are looked at when it is loaded. Where their growth and the length of a call's texts might mean too
many characters, the texts are measured first, in slices. Few texts of real tokenizers are so long
that this is needed.

Growth is that of the worst text, in characters. A character that becomes a token takes about 350
bytes.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from bids_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedTokenizerBase

LONGEST_NAME: Final = 1_000
"""Characters of a token that can stand for another text than its own, or is added."""
_LONGEST_TOKEN: Final = 10_000
_TEXT_CHARACTERS: Final = 8 << 20  # that the texts of one call may become
_TIMES: Final = 2  # or so many times their bytes in UTF-8, whatever these are
_SLICE_CHARACTERS: Final = 4 << 20
_MOST_GROWTH: Final = 10**6  # more is refused before any text; ALBERT's rules may do 1,944
_MOST_PIECES: Final = 64  # the same of splitting a text, and of decoding
_MOST_TOKENS: Final = 1_000  # that a template puts around a text
_MOST_COPIES: Final = 4  # of the text in a template
_LONGEST_WORD: Final = 1_000  # that WordPiece tries to split, at cubic cost

NORMALIZERS: Final = {
    "Strip": 1, "StripAccents": 1, "Nmt": 1, "Lowercase": 3, "NFC": 3, "NFD": 4, "NFKC": 18,
    "NFKD": 18, "BertNormalizer": 36, "ByteLevel": 4,
}  # fmt: skip
"""The worst character of each, for `growth`; that of compatibility forms is U+FDFA (UAX 15)."""
PRE_TOKENIZERS: Final = {"Metaspace": 2, "ByteLevel": 5} | dict.fromkeys((
    "BertPreTokenizer", "CharDelimiterSplit", "Digits", "FixedLength", "Punctuation", "Split",
    "UnicodeScripts", "Whitespace", "WhitespaceSplit",
), 1)  # fmt: skip
DECODERS: Final = {"WordPiece": 2, "BPEDecoder": 2, "CTC": 4} | dict.fromkeys((
    "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Strip",
), 1)  # fmt: skip
_NAMES: Final = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix")
_SEQUENCES: Final = ("normalizers", "pretokenizers", "decoders")

_growths: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # of tokenizers, once known


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, *, shown: str, key: str = "model.path"
) -> None:
    """Refuse a tokenizer that multiplies texts, wherever its parts come from.

    Args:
        tokenizer: of transformers; one that is not in Rust is left alone.
        shown: what messages call the model.
        key: of the configuration that names it.

    Raises:
        ModelError: it does.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    refuse = partial(refuse_tokenizer, key, shown, "tokenizer.json")
    parts = _parts(backend)
    if (most := growth(parts["normalizer"], NORMALIZERS)) > _MOST_GROWTH:
        refuse(f"its normalizer can turn one character into {most:,}")
    if (most := growth(parts["pre_tokenizer"], PRE_TOKENIZERS)) > _MOST_PIECES:
        refuse(f"its pre_tokenizer can turn one character into {most:,}")
    if (most := growth(parts["decoder"], DECODERS)) > _MOST_PIECES:
        refuse(f"its decoder can turn one character into {most:,}")
    copies, around = _template(parts["post_processor"])
    if copies > _MOST_COPIES or around > _MOST_TOKENS:
        refuse(
            f"its post_processor repeats a text {copies:,} times, or adds {around:,} tokens to it"
        )
    _check_model(backend, refuse)


def require_room(tokenizer: Any, texts: Any) -> None:
    """Refuse texts that a tokenizer makes too long to be held.

    Args:
        tokenizer: of transformers, in Rust.
        texts: what it is given: a text, or lists of them.

    Raises:
        ModelError: more than 8 million characters, and more than twice the texts' bytes in UTF-8.
    """
    most = _growths.get(tokenizer)
    if most is None:
        parts = _parts(tokenizer.backend_tokenizer)
        most = growth(parts["normalizer"], NORMALIZERS)
        most *= growth(parts["pre_tokenizer"], PRE_TOKENIZERS)
        _growths[tokenizer] = most
    given = list(_strings(texts))
    length = sum(map(len, given))
    if (length + len(given)) * most <= _TEXT_CHARACTERS:
        return
    allowed = max(_TEXT_CHARACTERS, _TIMES * sum(map(_bytes_of, given)))
    step = max(1, _SLICE_CHARACTERS // most)
    grown = 0
    for text in given:
        for start in range(0, len(text), step):
            grown += _length_split(tokenizer.backend_tokenizer, text[start : start + step])
            if grown > allowed:
                folder = tokenizer.name_or_path or "the model"
                msg = (
                    f"model.path: tokenizer.json of {folder} turns {length:,} characters into more"
                    f" than {allowed:,}, beyond any real tokenizer; fetch the model again"
                )
                raise ModelError(msg)


def _length_split(backend: Any, text: str) -> int:
    """Return how many characters the model is given of a text."""
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return len(text)
    return sum(len(piece) for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", errors="surrogatepass"))


def growth(part: Any, table: dict[str, int]) -> int:
    """Return how many characters a part of a tokenizer.json may make of one, at most.

    Args:
        part: as in the file; of parts of a sequence, the product.
        table: what each type without settings does; one that is not in it may do anything.
    """
    if not isinstance(part, dict):
        return 1
    for key in _SEQUENCES:
        if isinstance(part.get(key), list):
            product = 1
            for inner in part[key]:
                product = min(product * growth(inner, table), 10 * _MOST_GROWTH)
            return product
    if isinstance(part.get("pattern"), dict) and "content" in part:
        return _replaced(part["pattern"].get("String"), len(str(part["content"])))
    if "prepend" in part:
        return 1 + len(str(part["prepend"]))
    if "precompiled_charsmap" in part:
        return _longest_mapped(part["precompiled_charsmap"])
    kind = part.get("type")
    return table.get(str(kind), 10 * _MOST_GROWTH) if kind is not None else max(table.values())


def _replaced(pattern: Any, length: int) -> int:
    """Return the growth of a `Replace`; an expression may match between any two characters."""
    if isinstance(pattern, str) and pattern:
        return max(1, -(-length // len(pattern)))
    return 1 + length


def _longest_mapped(charsmap: Any) -> int:
    """Return the length of the longest text that a SentencePiece map puts for a character."""
    try:
        data = bytes(charsmap) if isinstance(charsmap, list) else base64.b64decode(str(charsmap))
    except (TypeError, ValueError):
        return 1  # the library refuses it
    texts = data[4 + int.from_bytes(data[:4], "little") :].split(b"\0")
    return max(1, *(len(text.decode("utf-8", errors="replace")) for text in texts))


def _template(part: Any) -> tuple[int, int]:
    """Return how often a post-processor repeats the text, and how many tokens it puts around it."""
    if not isinstance(part, dict):
        return 1, 0
    if isinstance(part.get("processors"), list):
        copies, around = 1, 0
        for inner in part["processors"]:
            times, more = _template(inner)
            copies, around = min(copies * times, _MOST_GROWTH), around * times + more
        return copies, around
    if part.get("type") != "TemplateProcessing":
        return 1, 2
    pieces = part.get("single") or []
    ids = {name: len(token.get("ids", ())) for name, token in part["special_tokens"].items()}
    around = sum(ids.get(p["SpecialToken"]["id"], 0) for p in pieces if "SpecialToken" in p)
    return max(1, sum("Sequence" in piece for piece in pieces)), around


def _check_model(backend: Any, refuse: Callable[[str], None]) -> None:
    for name in _NAMES:
        value = getattr(backend.model, name, None)
        if isinstance(value, str) and len(value) > LONGEST_NAME:
            refuse(f"{name} has {len(value):,} characters, the limit is {LONGEST_NAME:,}")
    word = getattr(backend.model, "max_input_chars_per_word", 0)
    if word > _LONGEST_WORD:
        refuse(f"max_input_chars_per_word is {word:,}, the limit is {_LONGEST_WORD:,}")
    vocabulary = backend.get_vocab(with_added_tokens=True)
    longest = max(map(len, vocabulary), default=0)
    if longest > _LONGEST_TOKEN:
        refuse(f"a token has {longest:,} characters, the limit is {_LONGEST_TOKEN:,}")
    if longest > LONGEST_NAME and len(set(vocabulary.values())) < len(vocabulary):
        refuse(f"tokens share an id, and one has {longest:,} characters")


def _parts(backend: Any) -> dict[str, Any]:
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {name: _state(getattr(backend, name)) for name in names}


def _state(part: Any) -> Any:
    """Return a part as it stands in a file; None of one in Python, which no file can bring."""
    try:
        return None if part is None else json.loads(part.__getstate__())
    except Exception as error:
        if "Custom" not in str(error):
            raise
        return None


def _strings(texts: Any) -> Iterator[str]:
    if isinstance(texts, str):
        yield texts
    elif isinstance(texts, list | tuple):
        for inner in texts:
            yield from _strings(inner)


def refuse_tokenizer(key: str, shown: str, name: str, what: str) -> None:
    """Raise the ModelError for a file that is beyond any real tokenizer."""
    msg = f"{key}: {name} of {shown} is beyond any real tokenizer: {what}; fetch the model again"
    raise ModelError(msg)
