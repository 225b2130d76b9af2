"""What a program may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Args:
        seconds: wall-clock time; after that, everything it started is killed.
        memory_bytes: address space of each of its processes.
        file_bytes: size of a file.
        folder_bytes: size of the in-memory folder that it may write to.
        open_files: open files of each process.
        processes: simultaneous processes and threads.
    """

    seconds: float = 10.0
    memory_bytes: int = 1024 * _MIB
    file_bytes: int = 4 * _MIB
    folder_bytes: int = 16 * _MIB
    open_files: int = 64
    processes: int = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Args:
        passed: it ran to its end without an exception.
        problem: why it did not pass: the exception in one line, `timeout`, or `ended early` (it
            called `os._exit`, or was killed for exceeding a limit); None if it passed.
        seconds: how long it took, including the start of the sandbox.
    """

    passed: bool
    problem: str | None
    seconds: float
