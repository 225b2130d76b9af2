"""The error a process failed with, as data: a small JSON file with the error's type and message.

A process that works for another one writes its error to such a file, and the other one raises it.
Workers' flow runs write theirs to the store, `.failures/<name>.json`; the processes of one training
run write theirs to its scratch folder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, Final

from bids_core import errors
from bids_core.artifacts.small import parse_json
from bids_core.errors import BidsError, WorkerError

logger = logging.getLogger(__name__)

FOLDER: Final = ".failures"
_KINDS: Final[dict[str, type[BidsError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BidsError)
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that is passed between processes.

    Args:
        type: name of its class; for ours, the nearest class in `bids_core.errors`.
        message: the whole message, however many lines.
        can_pass: whether the same work may succeed if tried again.
    """

    type: str
    message: str
    can_pass: bool = False

    @classmethod
    def of(cls, error: BaseException, *, can_pass: bool = False) -> Failure:
        """Return an exception's class and message as a failure."""
        names = [base.__name__ for base in type(error).__mro__ if base in _KINDS.values()]
        return cls(names[0] if names else type(error).__name__, str(error), can_pass)

    @classmethod
    def from_json(cls, text: str | bytes) -> Failure | None:
        """Parse what `to_json` wrote; None if it is truncated or something else."""
        try:
            found = parse_json(text)
            return cls(str(found["type"]), str(found["message"]), bool(found["can_pass"]))
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @property
    def is_ours(self) -> bool:
        """Whether its class is one of `bids_core.errors`."""
        return self.type in _KINDS

    def __str__(self) -> str:
        """Return the message; for a class that is not ours, preceded by the class name."""
        if self.is_ours:
            return self.message
        return f"{self.type}: {self.message}" if self.message else self.type

    def error(self) -> BidsError:
        """Return it as a BIDS error: its own class, or a WorkerError with the whole message."""
        return _KINDS.get(self.type, WorkerError)(str(self))


class Failures:
    """The failures in a store, each under a name that both sides know.

    Args:
        fs: file system of the store (fsspec).
        root: the store's path in it.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._folder = f"{root}/{FOLDER}"

    def write(self, name: str, failure: Failure) -> None:
        """Write a failure; if the file system raises, it was not written."""
        self._fs.makedirs(self._folder, exist_ok=True)
        self._fs.pipe_file(self._path(name), failure.to_json().encode())

    def read(self, name: str) -> Failure | None:
        """Return a failure, None if there is none."""
        try:
            text = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        failure = Failure.from_json(text)
        if failure is None:
            logger.warning("%s is not readable; continuing without it", self._path(name))
        return failure

    def remove(self, name: str) -> None:
        """Remove a failure if it exists."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}.json"
