"""What a program may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Args:
        seconds: wall-clock time; then everything it started is killed.
        memory_bytes: address space of each of its processes.
        file_bytes: longest file.
        folder_bytes: size of the folder in memory that it may write to.
        open_files: open files of each process.
        processes: processes and threads at a time.
    """

    seconds: float = 10.0
    memory_bytes: int = 1024 * _MIB
    file_bytes: int = 4 * _MIB
    folder_bytes: int = 16 * _MIB
    open_files: int = 64
    processes: int = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program.

    Args:
        passed: it ran to its end without an exception.
        problem: why not: the exception in one line, `timeout`, or `ended early` (it left by
            `sys.exit`'s back doors, or was killed for what it used); None if it passed.
        seconds: how long it took, start of the sandbox included.
    """

    passed: bool
    problem: str | None
    seconds: float
