"""The first code to run inside the sandbox: sets limits, drops privileges, runs the program.

Its text is passed to a bare `python -I -S -c`, so it imports only the standard library. It reads a
job (JSON) from standard input and writes the verdict (JSON) to a pipe.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import types
from typing import Any

_PROBLEM_SHOWN = 300


def confine(job: dict[str, Any]) -> None:
    """Set the limits of this process and its children, and stop being root."""
    seconds = int(job["seconds"]) + 1
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["file_bytes"]),
        (resource.RLIMIT_NOFILE, job["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    if job["user"] is not None:
        os.setgroups([])
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    # last: after the change of user, that user's processes count
    resource.setrlimit(resource.RLIMIT_NPROC, (job["processes"], job["processes"]))


def run(text: str) -> str | None:
    """Run a program as a module; return why it failed, or None."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(compile(text, "program.py", "exec"), module.__dict__)  # noqa: S102 - its purpose
    except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit too, is a failure
        return f"{type(error).__name__}: {error}"[:_PROBLEM_SHOWN]
    return None


def main(verdict: int) -> None:
    """Run the job from standard input; write the verdict to a file descriptor."""
    job = json.load(sys.stdin)
    first = os.getpid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    confine(job)
    problem = run(job["program"])
    if os.getpid() == first:  # a child forked by the program gets here too
        os.write(verdict, json.dumps({"problem": problem}).encode())
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
