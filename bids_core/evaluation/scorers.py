"""Scorer functions of the user: found, identified by the source they come from, and called safely.

A scorer takes a generation and the row's fields as in the file, and returns a number from 0 to 1.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.rejects import shorten
from bids_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from bids_core.config import TestTask

logger = logging.getLogger(__name__)
_FILE: Final = ".py"


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scorer function.

    Args:
        name: as in the configuration.
        function: (generation, fields) to a number.
        digest: of the file that defines it, and its module's `__version__` if it has one.
    """

    name: str
    function: Callable[[str, Mapping[str, Any]], Any]
    digest: str

    def score(self, generation: str, fields: Mapping[str, Any], *, row: str) -> float:
        """Score one generation.

        Args:
            generation: what the model wrote.
            fields: the row, as in the file.
            row: what to call it in a message.

        Raises:
            DataError: the scorer raised, or returned something else than a number from 0 to 1.
        """
        try:
            value = self.function(generation, fields)
        except Exception as error:
            what = f"raised {type(error).__name__}: {shorten(str(error), 120)}"
            raise DataError(self._complaint(row, what, generation)) from error
        if isinstance(value, bool) or not isinstance(value, int | float):
            item = getattr(value, "item", None)  # numpy's and torch's numbers
            value = item() if callable(item) and getattr(value, "size", 2) == 1 else value
        if not isinstance(value, bool | int | float) or not 0.0 <= value <= 1.0:
            what = f"returned {shorten(value)}, not a number from 0 to 1"
            raise DataError(self._complaint(row, what, generation))
        return float(value)

    def _complaint(self, row: str, what: str, generation: str) -> str:
        text = f"{row}: scorer {self.name} {what}, for the answer {shorten(generation, 80)}"
        return " ".join(text.split()) + "; mend the scorer or the row"


def load_scorer(task: TestTask) -> Scorer:
    """Import a task's scorer.

    Raises:
        ConfigError: it is not there, can not be imported, or can not be called with two arguments.
    """
    name = task.scorer or ""
    place, colon, attribute = name.rpartition(":")
    where = f"test task {task.task!r}: scorer {name!r}"
    if not colon or not attribute.isidentifier():
        msg = f"{where}: write package.module:function or scorers.py:function"
        raise ConfigError(msg)
    try:
        module = (
            _from_file(Path(place)) if place.endswith(_FILE) else importlib.import_module(place)
        )
        function = getattr(module, attribute)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        msg = f"{where} can not be imported ({reason}); check its name, and that it is installed"
        raise ConfigError(msg) from error
    try:
        inspect.signature(function).bind("", {})
    except (TypeError, ValueError) as error:
        msg = f"{where} can not be called with (generation, row): {error}"
        raise ConfigError(msg) from error
    return Scorer(name, function, _digest(module, function))


def try_scorer(
    scorer: Scorer, *, reference: str, fields: Mapping[str, Any], row: str, task: str
) -> None:
    """Run a scorer once, on a row's reference answer (a blank one if it has none).

    Raises:
        DataError: it raises, or returns something else than a number from 0 to 1.
    """
    found = scorer.score(reference, fields, row=row)
    if reference and found < 1.0:
        logger.warning(
            "test task %r: scorer %s gives the reference answer of %s %g, not 1; does it read the "
            "row's fields as you mean it to?",
            task, scorer.name, row, found,
        )  # fmt: skip


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name that its place and content decide; the last one stays."""
    content = path.read_bytes()
    key = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]
    name = f"bids_scorers_{key}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            msg = f"{path} is no Python file"
            raise ImportError(msg)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _digest(module: ModuleType, function: Callable[..., Any]) -> str:
    digest = hashlib.sha256(getattr(function, "__qualname__", repr(function)).encode())
    for item in (module, function):
        source = inspect.getsourcefile(inspect.unwrap(item))  # type: ignore[arg-type]
        if source is not None:
            digest.update(Path(source).read_bytes())
    digest.update(str(getattr(module, "__version__", "")).encode())
    return digest.hexdigest()[:32]
