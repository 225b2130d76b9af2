"""Start a program in the sandbox, wait for it, and leave nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Final

from bids_core.sandbox.bubblewrap import SandboxError, command, find_bwrap, python_executable
from bids_core.sandbox.limits import Limits, Outcome

_RUNNER: Final = (Path(__file__).parent / "runner.py").read_text(encoding="utf-8")
_VERDICT_BYTES: Final = 65536
# The range that systemd gives to services without their own user (systemd.exec, DynamicUser=):
# these ids own no files. Each program gets its own id, so that one program's processes do not count
# against another's limit.
_USERS: Final = range(61184, 65520)
_next_user = itertools.count(os.getpid())


def run_program(text: str, *, limits: Limits | None = None) -> Outcome:
    """Run a Python program in the sandbox. It sees the standard library and nothing else.

    Args:
        text: the program, with its tests.
        limits: what it may use.

    Returns:
        How it ended; no program can make this function raise.

    Raises:
        SandboxError: the sandbox cannot be built here; nothing ran.
    """
    require_sandbox()
    return _run(text, limits or Limits())


@lru_cache(maxsize=1)
def require_sandbox() -> None:
    """Check that the sandbox can be built, by running a program that does nothing.

    Raises:
        SandboxError: it cannot be built here; the message says why and what to do.
    """
    outcome = _run("", Limits())
    if not outcome.passed:
        msg = f"the sandbox does not work here: an empty program ended with {outcome.problem}"
        raise SandboxError(msg)


def _run(text: str, limits: Limits) -> Outcome:
    is_root = os.geteuid() == 0
    job = {
        **asdict(limits),
        "program": text,
        "user": _USERS[next(_next_user) % len(_USERS)] if is_root else None,
    }
    started = time.monotonic()
    reading, writing = os.pipe()
    told, telling = os.pipe()
    try:
        walls = command(find_bwrap(), limits=limits, is_root=is_root, information=telling)
        process = subprocess.Popen(
            [*walls, python_executable(), "-I", "-S", "-c", _RUNNER, str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[writing, telling],
            env={},
            start_new_session=True,
        )
        complaint, timed_out = _wait(process, json.dumps(job).encode(), limits.seconds, told)
        verdict = _read(reading)
    finally:
        for descriptor in (reading, writing, told, telling):
            os.close(descriptor)
    seconds = time.monotonic() - started
    if timed_out:
        return Outcome(False, "timeout", seconds)
    if verdict is None and complaint.startswith("bwrap:"):
        msg = (
            f"the sandbox cannot be built here ({complaint}); allow user namespaces, run as root "
            "with CAP_SYS_ADMIN, or remove the coding tasks"
        )
        raise SandboxError(msg)
    problem = _problem(verdict)
    return Outcome(problem is None, problem, seconds)


def _wait(
    process: subprocess.Popen[bytes], job: bytes, seconds: float, told: int
) -> tuple[str, bool]:
    """Hand over the job and wait; return bubblewrap's complaint, and whether time ran out."""
    try:
        _, complaint = process.communicate(job, timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):  # it has just ended on its own
            os.kill(_first_process(told) or process.pid, signal.SIGKILL)
        process.communicate()
        return "", True
    return complaint.decode(errors="replace").strip(), False


def _first_process(told: int) -> int | None:
    """Return the id of the first process inside; killing it ends all others and bubblewrap.

    (Killing bubblewrap first would leave that process to an init that may not reap it.)
    """
    text = _read(told)
    return None if text is None else int(json.loads(text)["child-pid"])


def _read(descriptor: int) -> str | None:
    """Return what has been written so far, None if nothing."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, _VERDICT_BYTES).decode(errors="replace") or None
    except BlockingIOError:
        return None


def _problem(verdict: str | None) -> str | None:
    """Return the problem in a verdict; a program that tampers with its verdict has not passed."""
    try:
        problem = json.loads(verdict or "")["problem"]
    except (ValueError, TypeError, KeyError):
        return "ended early"
    return None if problem is None else " ".join(str(problem).split())
