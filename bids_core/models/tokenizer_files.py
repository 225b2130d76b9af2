"""Limits on a tokenizer's files, before a library reads them: no tables of gigabytes.

What the library builds from them can take hundreds of times their size (a tree with a node for each
character of each token, a token for each number up to `extra_ids`), and where memory ends the
process does, without an error to catch. What is wrong with a file otherwise, the library says.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bids_core.formatting import brief
from bids_core.models.tokenizer_growth import LONGEST_NAME, NORMALIZERS, growth, refuse_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FILE_BYTES: Final = 128 << 20  # Gemma's tokenizer.json, among the largest, has 33 MB
_SETTINGS: Final = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SETTINGS_BYTES: Final = 16 << 20  # Gemma's have one
_TABLE_CHARACTERS: Final = 16 << 20  # of all tokens; a vocabulary of a million has half of it
_HIGHEST_ID: Final = 4 << 20
_COUNT: Final = 50_000  # of tokens that a class makes; T5 has 100, and 100,000 take it minutes


def check_tokenizer_files(folder: Path, *, shown: str, key: str = "model.path") -> None:
    """Refuse files from which a library would build tables beyond all measure.

    What is wrong with them otherwise, the library says.

    Args:
        folder: of the model.
        shown: what messages call the model.
        key: of the configuration that names it.

    Raises:
        ModelError: a file, its tokens, or a number in it is larger than any tokenizer's.
    """
    refuse = partial(refuse_tokenizer, key, shown)
    for path in sorted(folder.iterdir()):
        most = _file_limit(path)
        if most and path.is_file() and (size := path.stat().st_size) > most:
            refuse(path.name, f"has {size:,} bytes, the limit is {most:,}")
    added: list[str] = []
    for name in _SETTINGS:
        settings = _object(folder / name)
        _check_ids(settings, partial(refuse, name))
        added += [*_contents(settings), *(settings if name == "added_tokens.json" else ())]
    for path in sorted(folder.glob("tokenizer*.json")):
        if path.name in _SETTINGS:
            continue
        found = _object(path)
        told = partial(refuse, path.name)
        model = found.get("model")
        characters = sum(map(len, _texts(model.get("vocab") if isinstance(model, dict) else None)))
        if characters > _TABLE_CHARACTERS:
            told(f"its tokens have {characters:,} characters, the limit is {_TABLE_CHARACTERS:,}")
        tokens = [*added, *_contents(found.get("added_tokens"))]
        _check_added(tokens, growth(found.get("normalizer"), NORMALIZERS), told)


def _file_limit(path: Path) -> int | None:
    if path.name in _SETTINGS:
        return _SETTINGS_BYTES
    if path.suffix in (".model", ".tiktoken"):
        return _FILE_BYTES // 4
    tables = path.name.startswith(("tokenizer", "vocab", "merges"))
    return _FILE_BYTES if tables and path.suffix in (".json", ".txt") else None


def _check_added(contents: list[str], most: int, refuse: Callable[[str], None]) -> None:
    longest = max(map(len, contents), default=0)
    if longest > LONGEST_NAME:
        refuse(f"an added token has {longest:,} characters, the limit is {LONGEST_NAME:,}")
    if (total := sum(map(len, contents)) * most) > _TABLE_CHARACTERS:
        refuse(
            f"its added tokens can have {total:,} characters once normalized, the limit is"
            f" {_TABLE_CHARACTERS:,}"
        )


def _check_ids(settings: dict[str, Any], refuse: Callable[[str], None]) -> None:
    """Some classes make as many tokens as a number says (`extra_ids`), or as their highest id."""
    for key, value in settings.items():
        most = _HIGHEST_ID if key.endswith(("_id", "_size")) else _COUNT
        if isinstance(value, int) and value > most and "max" not in key:
            refuse(f"{brief(key)} is {value:,}, the limit is {most:,}")
    added = settings.get("added_tokens_decoder")
    ids = added if isinstance(added, dict) else ()
    highest = max((int(key[:20]) for key in ids if key.isdecimal()), default=0)
    if highest > _HIGHEST_ID:
        refuse(f"an added token has the id {highest:,}, the limit is {_HIGHEST_ID:,}")


def _contents(value: Any) -> Iterator[str]:
    """Yield the texts of added tokens, wherever they stand."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key == "content" and isinstance(inner, str):
            yield inner
        else:
            yield from _contents(inner)
    for inner in value if isinstance(value, list) else ():
        yield from _contents(inner)


def _texts(vocabulary: Any) -> Iterator[str]:
    """Yield the tokens of a vocabulary: a table of ids, or a list of tokens with their scores."""
    for entry in vocabulary if isinstance(vocabulary, dict | list) else ():
        text = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(text, str):
            yield text


def _object(path: Path) -> dict[str, Any]:
    """Return a JSON object; nothing where there is none: the library says what is wrong with it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
