"""Runs code written by a model, in an isolated subprocess with limits on time and memory.

Read in this order: `limits` (what a program may use, and how it ended), `bubblewrap` (the walls:
namespaces made by the `bwrap` program), `runner` (the first code to run inside), `execution`
(start, wait, kill), `solutions` (from an answer and a row's tests to a program); and, outside those
walls, `expressions` (regular expressions that may take forever).

Out of reach: the network (an empty network namespace), other processes (a process namespace that
dies with its first process), the file system (except a few read-only system folders, Python itself
and an empty folder in memory), the environment, root's privileges. Limited: wall and CPU time,
memory, file size, open files, processes. There is no fallback: if the sandbox cannot be built,
nothing runs.
"""

from __future__ import annotations

from bids_core.sandbox.execution import require_sandbox, run_program
from bids_core.sandbox.expressions import Expression, expression
from bids_core.sandbox.limits import Limits, Outcome
from bids_core.sandbox.solutions import solution_program

__all__ = [
    "Expression",
    "Limits",
    "Outcome",
    "expression",
    "require_sandbox",
    "run_program",
    "solution_program",
]
