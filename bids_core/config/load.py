"""From a YAML file (and `--set` overrides) to a checked `RunConfig`, with messages in one line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from bids_core.config.run import RunConfig
from bids_core.config.yaml_text import YamlError, read_yaml
from bids_core.errors import ConfigError
from bids_core.formatting import brief
from bids_core.own_code import own_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN: Final = 10


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a configuration.

    Args:
        path: YAML file. Relative data paths in it are relative to its folder.
        overrides: `section.key=value` texts, the value read as YAML.

    Raises:
        ConfigError: the file cannot be read or a value is invalid; names file, key and fix.
    """
    content = _read_yaml(path)
    for override in overrides:
        _apply(content, override)
    return check_config(_with_base(content, path.resolve().parent), origin=str(path))


def check_config(content: Mapping[str, Any], *, origin: str = "config") -> RunConfig:
    """Check a mapping and return the configuration.

    Raises:
        ConfigError: one line that names all invalid keys, the first ten of many.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        problems = [brief(_describe(problem)) for problem in found[:_SHOWN]]
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        msg = f"{origin}: {'; '.join(problems)}{more}"
        raise ConfigError(msg) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        msg = f"{path}: no such file; `bids init` writes a starter configuration"
        raise ConfigError(msg)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise ConfigError(msg) from error
    except (OSError, YamlError) as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: a configuration is a mapping of keys, this is {type(content).__name__}"
        raise ConfigError(msg)
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        msg = f"--set {override}: write section.key=value, for example selection.budget=0.1"
        raise ConfigError(msg)
    *sections, last = key.split(".")
    target: Any = content
    for section in sections:
        if isinstance(target, list) and section.isdigit() and int(section) < len(target):
            target = target[int(section)]
            continue
        if isinstance(target, dict) and target.get(section) is None:
            target[section] = {}
        target = target.get(section) if isinstance(target, dict) else None
        if not isinstance(target, dict | list):
            msg = f"--set {override}: {section!r} is not a section of the configuration"
            raise ConfigError(msg)
    try:
        value = read_yaml(text)
    except YamlError as error:
        msg = f"--set {override}: {text!r} is not a valid value"
        raise ConfigError(msg) from error
    if isinstance(target, dict):
        target[last] = value
    else:
        msg = f"--set {override}: {'.'.join(sections)} is a list; name an item by its number"
        raise ConfigError(msg)


def _with_base(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make relative data, model and template paths absolute, so that they hold anywhere."""
    result = dict(content)
    for section in ("pool", "validation", "test"):
        rows = result.get(section)
        if isinstance(rows, list):
            result[section] = [_with_absolute(row, "path", base) for row in rows]
    if isinstance(result.get("test"), list):
        result["test"] = [_with_scorer(row, base) for row in result["test"]]
    if "selection" in result:
        result["selection"] = _with_methods(result["selection"], base)
    if "evaluation" in result:
        result["evaluation"] = _with_absolute(result["evaluation"], "suite_data", base)
    result["model"] = _with_absolute_model(result.get("model"), base)
    finetune = result.get("finetune")
    if isinstance(finetune, dict) and "model" in finetune:
        result["finetune"] = finetune | {"model": _with_absolute_model(finetune["model"], base)}
    return {name: value for name, value in result.items() if name in content}


def _with_absolute_model(model: Any, base: Path) -> Any:
    if not isinstance(model, dict):
        return model
    local = isinstance(model.get("path"), str) and (
        model["path"].startswith(".") or (base / model["path"] / "config.json").is_file()
    )
    model = _with_absolute(model, "path", base) if local else model
    return _with_absolute(model, "chat_template", base)


def _with_scorer(row: Any, base: Path) -> Any:
    """Make the file of `scorers.py:function` absolute; `package.module:function` stays."""
    if isinstance(row, dict) and own_file(str(row.get("scorer"))) is not None:
        return _with_absolute(row, "scorer", base)
    return row


def _with_methods(section: Any, base: Path) -> Any:
    """Make the files of selection methods of the user's own absolute, as scorers'."""
    if not isinstance(section, dict):
        return section
    result = {**section}
    if "method" in section:
        result["method"] = _with_own(section["method"], base)
    if isinstance(section.get("compare"), list):
        result["compare"] = [_with_own(method, base) for method in section["compare"]]
    return result


def _with_own(method: Any, base: Path) -> Any:
    if isinstance(method, str) and own_file(method) is not None:
        return _with_absolute({"method": method}, "method", base)["method"]
    return method


def _with_absolute(row: Any, key: str, base: Path) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        return row
    path = row[key]
    if path.startswith(("hf:", "/", "~", "$")) or "://" in path:
        return row
    return {**row, key: str(base / path)}


def _describe(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"{place}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{place}: this key is required"
    message = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    return f"{place}: {message}{shown}"


def _known_keys(location: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        found = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not found:
            return []
        model = found[0]
    return sorted(model.model_fields)
