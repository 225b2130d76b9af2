"""Runs code that a model wrote: in a subprocess without access to anything, and with a time limit.

Read in this order: `limits` (what a program may use, and how it ended), `bubblewrap` (the
walls: namespaces made by the `bwrap` program), `runner` (the first thing that runs inside),
`execution` (start, wait, kill), `solutions` (from an answer and a row's tests to a program); and
`expressions` (regular expressions that may take forever, outside those walls).

What is kept out: the network (an empty network namespace), other processes (a process namespace
that dies with its first process), the file system (a few read-only system folders, Python itself
and an empty folder in memory), the environment, root's privileges. What is bounded: wall and CPU
time, memory, file size, open files, processes. There is no fallback: where the walls cannot be
built, nothing runs.
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
