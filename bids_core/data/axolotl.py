"""The `datasets:` list of an axolotl configuration as a source.

Entries of type `chat_template`, `sharegpt` and `alpaca` (and user-defined `field_*` maps) are
supported, with `field_messages`, `message_property_mappings`, `roles`, `field_system`,
`field_tools`, `field_thinking` and `message_field_training`. Rendering is set by our
`model.chat_template`, not by axolotl's `chat_template`. An unsupported setting that would change
what is learned is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bids_core.config import YamlError, parse_yaml, read_yaml_text
from bids_core.data.layout import Layout
from bids_core.data.recipe import Described
from bids_core.errors import ConfigError, DataError
from bids_core.formatting import brief

SUFFIXES: Final = (".yaml", ".yml")
_LIST_TYPES: Final = ("chat_template", "sharegpt")
_IGNORED: Final = {
    "path", "type", "name", "split", "data_files", "ds_type", "revision", "trust_remote_code",
    "chat_template", "chat_template_jinja", "conversation", "preprocess_shards",
    "field_messages", "message_property_mappings", "message_field_role", "message_field_content",
    "message_field_training", "message_field_training_detail", "roles", "roles_to_train",
    "train_on_eos", "train_on_eot", "field_system", "field_tools", "field_thinking",
    "template_thinking_key", "drop_system_message", "split_thinking",
}  # fmt: skip
_USER_FIELDS: Final = {
    "field_system": "system", "field_instruction": "instruction", "field_input": "input",
    "field_output": "output",
}  # fmt: skip
_ROLES: Final = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "system": "system", "tool": "tool",
}  # fmt: skip


def read_axolotl(path: Path, names: str | None, *, where: str) -> list[Described]:
    """Return what the `datasets:` list of an axolotl configuration describes.

    Args:
        path: the YAML file.
        names: the entries to take, numbered from 0 and separated by commas; None for all.
        where: how messages name the source.

    Raises:
        DataError: the file cannot be read.
        ConfigError: there is no such list or entry, or it uses an unsupported setting.
    """
    try:
        content = parse_yaml(read_yaml_text(path, encoding="utf-8-sig"))
    except (OSError, YamlError, UnicodeDecodeError) as error:
        msg = f"{where}: {path.name} cannot be read ({' '.join(str(error).split())})"
        raise DataError(msg) from error
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        msg = f"{where}: {path.name} has no `datasets:` list, as an axolotl configuration has"
        raise ConfigError(msg)
    chosen = range(len(entries)) if names is None else _numbers(names, len(entries), where=where)
    return [_described(number, entries[number], path, where=where) for number in chosen]


def _described(number: int, entry: Mapping[str, Any], path: Path, *, where: str) -> Described:
    try:
        return _entry(number, entry, path, where=where)
    except (OSError, TypeError, AttributeError, ValueError, LookupError) as error:
        msg = (
            f"{where}: entry {number} of {path.name} is not a valid axolotl entry ({brief(error)})"
        )
        raise ConfigError(msg) from error


def _numbers(names: str, count: int, *, where: str) -> list[int]:
    parts = [part.strip() for part in names.split(",")]
    if not all(part.isdigit() and int(part) < count for part in parts):
        msg = f"{where}: `dataset: {names}` must name entries by number, from 0 to {count - 1}"
        raise ConfigError(msg)
    return [int(part) for part in parts]


def _entry(number: int, entry: Mapping[str, Any], path: Path, *, where: str) -> Described:
    here = f"{where}: entry {number} of {path.name}"
    unknown = sorted(key for key in entry if key not in _IGNORED and entry[key] is not None)
    if unknown:
        msg = f"{here} sets {unknown[0]!r}, which is not supported; remove it, or use `mapping`"
        raise ConfigError(msg)
    if not isinstance(entry.get("path"), str):
        msg = f"{here} has no `path`"
        raise ConfigError(msg)
    kind = entry.get("type")
    split = entry.get("split")
    there, on_hub = _place(entry, path, here)
    name = Path(there.removeprefix("hf:").split(":")[0]).name.split(".")[0]
    if isinstance(kind, Mapping):
        described = ("alpaca", _user_layout(kind, here))
    elif kind == "alpaca":
        described = ("alpaca", Layout())
    elif kind in _LIST_TYPES:
        described = ("messages", _list_layout(entry, str(kind), here))
    else:
        msg = f"{here} has type {kind!r}; use chat_template, sharegpt, alpaca or a field map"
        raise ConfigError(msg)
    return Described(
        f"{name}-{number}", there, *described, split=(split or "train") if on_hub else split
    )


def _place(entry: Mapping[str, Any], path: Path, here: str) -> tuple[str, bool]:
    """Return where an entry's rows are, and whether that is on the hub."""
    files = entry.get("data_files")
    local = path.parent / entry["path"]
    if files is not None:
        files = [files] if isinstance(files, str) else files
        if len(files) != 1:
            msg = f"{here} names several data_files; give each its own entry"
            raise ConfigError(msg)
        inside = local / files[0]
        return (str(inside) if inside.exists() else str(path.parent / files[0])), False
    if local.exists() or entry["path"].count("/") != 1 or "." in entry["path"].split("/")[0]:
        return str(local), False
    subset = f":{entry['name']}" if entry.get("name") else ""
    return f"hf:{entry['path']}{subset}", True


def _user_layout(kind: Mapping[str, Any], here: str) -> Layout:
    for key in ("format", "no_input_format", "system_format"):
        if kind.get(key) not in (None, "{instruction}", "{instruction} {input}", "{system}"):
            msg = f"{here} has a {key}; the model's chat template renders rows here, so remove it"
            raise ConfigError(msg)
    columns = {ours: str(kind[key]) for key, ours in _USER_FIELDS.items() if kind.get(key)}
    return Layout(columns=columns, system=kind.get("system_prompt") or None)


def _list_layout(entry: Mapping[str, Any], kind: str, here: str) -> Layout:
    trained = entry.get("roles_to_train")
    if trained is None and "roles_to_train" in entry:
        msg = (
            f"{here} has a blank roles_to_train; remove it, and set data.learn: last in the "
            "BIDS configuration"
        )
        raise ConfigError(msg)
    if trained is not None and set(trained) - {"assistant", "gpt", "model"}:
        msg = f"{here} has roles_to_train {trained}; only the assistant's turns can be learned"
        raise ConfigError(msg)
    for key in ("train_on_eos", "train_on_eot"):
        if entry.get(key) not in (None, "turn"):
            msg = f"{here} has {key}: {entry[key]}; each turn's own end token is learned (turn)"
            raise ConfigError(msg)
    usual = ("from", "value") if kind == "sharegpt" else ("role", "content")
    mapped = dict(entry.get("message_property_mappings") or {})
    fields = {
        "role": mapped.pop("role", entry.get("message_field_role") or usual[0]),
        "content": mapped.pop("content", entry.get("message_field_content") or usual[1]),
        **mapped,
    }
    for ours, key in (("train", "message_field_training"), ("reasoning_content", "field_thinking"),
                      ("train_detail", "message_field_training_detail")):  # fmt: skip
        if entry.get(key):
            fields[ours] = entry[key]
    columns = {"messages": entry.get("field_messages") or _default_list(kind)}
    columns |= {ours: entry[key] for ours, key in (("system", "field_system"),
                ("tools", "field_tools")) if entry.get(key)}  # fmt: skip
    roles = {there: ours for ours, names in (entry.get("roles") or {}).items() for there in names}
    return Layout(
        columns=columns,
        turn_fields=fields,
        roles=_ROLES | roles,
        drop_system=bool(entry.get("drop_system_message")),
        marked_only=trained == [],
    )


def _default_list(kind: str) -> str:
    return "conversations" if kind == "sharegpt" else "messages"
