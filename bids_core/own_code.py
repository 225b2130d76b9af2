"""The user's own functions, named in a configuration: found by name, identified by their source.

A name is `package.module:function` or `file.py:function`. Loading one runs its module, so code that
accepts other people's configurations checks them first (`flows.confinement`); `function_name` and
`check_name` only look at the text.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_FILE: Final = ".py"


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """One of the user's own functions.

    Args:
        name: as in the configuration.
        function: the function.
        digest: of the file that defines it, and its module's `__version__` if it has one.
    """

    name: str
    function: Callable[..., Any]
    digest: str


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's function, not of an entry in a table."""
    return ":" in name


def function_name(name: str) -> str:
    """Return the name to show people: the function's, or all of a name without a function."""
    return name.rpartition(":")[2]


def own_file(name: str) -> str | None:
    """Return the path in `file.py:function`; None for a function in a package."""
    place = name.rpartition(":")[0]
    return place if place.endswith(_FILE) else None


def check_name(name: str, *, where: str, example: str) -> tuple[str, str]:
    """Split a name into its module (or file) and its function.

    Args:
        name: as in the configuration.
        where: what the name is for, in the message.
        example: file name for the message (`scorers.py`).

    Raises:
        ConfigError: it has another form.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute.isidentifier():
        msg = f"{where}: write package.module:function or {example}:function"
        raise ConfigError(msg)
    return place, attribute


def load_function(
    name: str, *, where: str, example: str, call: str, arguments: Sequence[Any]
) -> OwnFunction:
    """Import a function.

    Args:
        name: `package.module:function`, or `file.py:function`.
        where: what it is for, in messages (`selection method 'm.py:pick'`).
        example: file name for a message (`scorers.py`).
        call: how it will be called, for a message (`(generation, row)`).
        arguments: placeholders, as many as the arguments it will be called with.

    Raises:
        ConfigError: it does not exist, cannot be imported, or cannot be called like that.
    """
    place, attribute = check_name(name, where=where, example=example)
    try:
        module = (
            _from_file(Path(place).expanduser())
            if place.endswith(_FILE)
            else importlib.import_module(place)
        )
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        msg = f"{where} cannot be imported ({reason}); check its name, and that it is installed"
        raise ConfigError(msg) from error
    if not hasattr(module, attribute):
        msg = f"{where} cannot be imported: {place} has no {attribute!r}; check its name"
        raise ConfigError(msg)
    function = getattr(module, attribute)
    check_call(function, where=where, call=call, arguments=arguments)
    return OwnFunction(name, function, _digest(module, function))


def check_call(function: Any, *, where: str, call: str, arguments: Sequence[Any]) -> None:
    """Check that something can be called with the given arguments.

    Raises:
        ConfigError: it is not callable, or takes other arguments.
    """
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError) as error:
        msg = f"{where} cannot be called with {call}: {error}"
        raise ConfigError(msg) from error


def _from_file(path: Path) -> ModuleType:
    """Import a file under a module name made of its path and content, so that edits reload it."""
    content = path.read_bytes()
    key = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]
    name = f"bids_own_{key}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            msg = f"{path} is not a Python file"
            raise ImportError(msg)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs: dataclasses look up their module there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _digest(module: ModuleType, function: Callable[..., Any]) -> str:
    digest = hashlib.sha256(getattr(function, "__qualname__", repr(type(function))).encode())
    for item in (module, function):
        try:
            source = inspect.getsourcefile(inspect.unwrap(item))  # type: ignore[arg-type]
        except TypeError:  # a callable object has no source file of its own: the module's is used
            continue
        if source is not None:
            digest.update(Path(source).read_bytes())
    digest.update(str(getattr(module, "__version__", "")).encode())
    return digest.hexdigest()[:32]
