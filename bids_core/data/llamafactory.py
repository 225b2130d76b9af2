"""LLaMA-Factory's `dataset_info.json` as a source: where an entry's rows are, and their columns.

An entry has `file_name` (next to the file) or `hf_hub_url`, `formatting` (alpaca, sharegpt,
openai), `ranking`, `subset`, `split`, `num_samples`, and the maps `columns` and `tags`. If
`columns` is given, other columns are not read, as in LLaMA-Factory; without it the default names
apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bids_core.artifacts import read_small_json
from bids_core.data.layout import Layout
from bids_core.data.recipe import Described
from bids_core.errors import ConfigError, DataError
from bids_core.formatting import brief

FILE: Final = "dataset_info.json"
_COLUMNS: Final = {
    "prompt": "instruction", "query": "input", "response": "output", "history": "history",
    "messages": "conversations", "system": "system", "tools": "tools", "chosen": "chosen",
    "rejected": "rejected", "kto_tag": "kto_tag", "images": "images", "videos": "videos",
    "audios": "audios",
}  # fmt: skip
_ALPACA: Final = {"prompt": "instruction", "query": "input", "response": "output"}
_LISTS: Final = {"messages": "conversations"}
_TAGS: Final = {
    "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool"), "function_tag": ("function_call", "function_call"),
    "system_tag": ("system", "system"),
}  # fmt: skip
_ELSEWHERE: Final = ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


def read_dataset_info(path: Path, names: str | None, *, where: str) -> list[Described]:
    """Return what the given entries of a `dataset_info.json` describe.

    Args:
        path: the file.
        names: the entries, separated by commas; may be None if there is only one.
        where: how messages name the source.

    Raises:
        DataError: the file cannot be read.
        ConfigError: an entry is missing, or uses an unsupported setting.
    """
    try:
        info = read_small_json(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        msg = f"{where}: {path.name} cannot be read ({error})"
        raise DataError(msg) from error
    known = ", ".join(info) if isinstance(info, dict) else "none"
    if names is None and isinstance(info, dict) and len(info) == 1:
        names = next(iter(info))
    if names is None:
        msg = f"{where}: {path.name} describes several datasets; set `dataset` to one of: {known}"
        raise ConfigError(msg)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if not isinstance(info, dict) or not isinstance(info.get(name), dict):
            msg = f"{where}: {path.name} has no entry {name!r}; it has: {known}"
            raise ConfigError(msg)
    return [_described(name, info[name], path, where=where) for name in chosen]


def _described(name: str, entry: Mapping[str, Any], path: Path, *, where: str) -> Described:
    try:
        return _entry(name, entry, path, where=where)
    except (OSError, TypeError, AttributeError, ValueError, LookupError) as error:
        what = f"entry {name!r} of {path.name} is not a valid LLaMA-Factory entry"
        msg = f"{where}: {what} ({brief(error)})"
        raise ConfigError(msg) from error


def _entry(name: str, entry: Mapping[str, Any], path: Path, *, where: str) -> Described:
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        msg = (
            f"{where}: entry {name!r} has formatting {formatting!r}; use alpaca, sharegpt or openai"
        )
        raise ConfigError(msg)
    columns = entry.get("columns") or (_ALPACA if formatting == "alpaca" else _LISTS)
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown:
        msg = f"{where}: entry {name!r} names the column {unknown[0]!r}, which is not known"
        raise ConfigError(msg)
    hub = entry.get("hf_hub_url")
    if hub is None and any(key in entry for key in _ELSEWHERE):
        msg = f"{where}: entry {name!r} is on another hub or needs a script; download its file"
        raise ConfigError(msg)
    if hub is None and not entry.get("file_name"):
        msg = f"{where}: entry {name!r} has neither file_name nor hf_hub_url"
        raise ConfigError(msg)
    subset = f":{entry['subset']}" if hub is not None and entry.get("subset") else ""
    return Described(
        name=name,
        path=f"hf:{hub}{subset}" if hub is not None else str(path.parent / entry["file_name"]),
        format=_format(formatting, entry, columns),
        layout=_layout(columns, entry.get("tags") or {}, formatting),
        split=entry.get("split", "train") if hub is not None else None,
        limit=entry.get("num_samples"),
    )


def _format(formatting: str, entry: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    if entry.get("ranking") and "chosen" in columns:
        return "preference"
    return "alpaca" if formatting == "alpaca" else "sharegpt"


def _layout(columns: Mapping[str, str], tags: Mapping[str, str], formatting: str) -> Layout:
    if formatting == "alpaca":
        named = {_COLUMNS[key]: there for key, there in columns.items() if there}
        return Layout(columns=named, hidden=_not_named(named))
    named = {_COLUMNS[key]: there for key, there in columns.items() if there}
    role, content = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    roles = {tags.get(tag, usual): ours for tag, (usual, ours) in _TAGS.items()}
    return Layout(
        columns=named,
        turn_fields={"role": role, "content": content},
        roles=roles,
        hidden=_not_named(named),
    )


def _not_named(named: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that LLaMA-Factory reads only if the entry names them."""
    return tuple(name for name in _COLUMNS.values() if name not in named)
