"""From a YAML file (and `--set` overrides) to a validated `RunConfig`, with one-line messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from bids_core.config.find import find_config, replayed
from bids_core.config.nearest import suggestion
from bids_core.config.paths import absolute_paths
from bids_core.config.run import RunConfig
from bids_core.config.yaml_text import YamlError, parse_yaml, read_yaml_text
from bids_core.errors import ConfigError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN: Final = 10


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a configuration.

    Args:
        path: a YAML file or the folder that holds it, or a run's folder or manifest, to run it
            again. Its data paths are relative to its folder.
        overrides: texts of the form `section.key=value`; the value is read as YAML.

    Raises:
        ConfigError: the file cannot be read or a value is invalid; names file, key and fix.
    """
    path = find_config(Path(path))
    content = replayed(path, read_yaml(path))
    for override in overrides:
        apply_override(content, override)
    absolute = absolute_paths(content, path.resolve().parent)
    return check_config(absolute, origin=str(path), overrides=overrides)


def check_config(
    content: Mapping[str, Any], *, origin: str = "config", overrides: Sequence[str] = ()
) -> RunConfig:
    """Validate a mapping and return the configuration.

    Args:
        content: the configuration.
        origin: where it comes from, for the message.
        overrides: the `section.key=value` texts already applied to it, for the message.

    Raises:
        ConfigError: one line that names the invalid keys, at most the first ten.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        found = _causes(error.errors())
        problems: dict[str, list[str]] = {}
        for problem in found[:_SHOWN]:
            place = _origin(problem, origin, overrides)
            problems.setdefault(place, []).append(brief(_describe(problem), 1000))
        msg = "; ".join(f"{where}: {'; '.join(said)}" for where, said in problems.items())
        if len(found) > _SHOWN:
            msg += f"; and {len(found) - _SHOWN} more"
        raise ConfigError(msg) from error


def _causes(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Drop "too short" errors of lists that are only short because their items are invalid."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short"
        or not any(
            place != problem["loc"] and place[: len(problem["loc"])] == problem["loc"]
            for place in places
        )
    ]


def _origin(problem: Mapping[str, Any], origin: str, overrides: Sequence[str]) -> str:
    """Return where an invalid value comes from: an override, or else the file."""
    place = _place(problem)
    for override in overrides:
        key = override.partition("=")[0]
        if f"{place}.".startswith(f"{key}.") or f"{key}.".startswith(f"{place}."):
            return f"--set {override}"
    return origin


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that holds one mapping.

    Raises:
        ConfigError: it cannot be read, or does not hold a mapping.
    """
    try:
        content = parse_yaml(read_yaml_text(path))
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise ConfigError(msg) from error
    except (OSError, YamlError) as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: a configuration must be a mapping of keys, not a {type(content).__name__}"
        raise ConfigError(msg)
    return content


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set a value in a raw configuration from a text `section.key=value`.

    Raises:
        ConfigError: the text has another form, or does not name a section.
    """
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
        value = parse_yaml(text)
    except YamlError as error:
        msg = f"--set {override}: {text!r} is not a valid value"
        raise ConfigError(msg) from error
    if isinstance(target, dict):
        target[last] = value
    else:
        msg = f"--set {override}: {'.'.join(sections)} is a list; name an item by its number"
        raise ConfigError(msg)


def _describe(problem: Mapping[str, Any]) -> str:
    place = _place(problem) or "configuration"
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; {suggestion(problem['loc'])}"
    if problem["type"] == "missing":
        return f"{place}: this key is required"
    if problem["type"] == "too_short":
        return f"{place}: at least one entry is needed"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"{place}: this is a section; {suggestion((*problem['loc'], ''))}"
    message = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    return f"{place}: {message}{shown}"


def _place(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"])
