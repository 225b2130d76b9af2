"""Other people's regular expressions, matched within limits.

Some expressions take forever on a short text (`(a+)+b` on thirty letters), and Python's `re` cannot
be interrupted from another thread. So the matching is done by `re` in a separate process, which the
system kills when a text takes too much processor time or memory. This costs a few microseconds more
per text.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import weakref
from functools import lru_cache
from typing import Any, Final

from bids_core.errors import ConfigError
from bids_core.formatting import brief

SECONDS: Final = 5
"""Processor seconds allowed per text; ordinary expressions take less than a millisecond."""
_MEMORY: Final = 1 << 30
_LONGEST: Final = 10_000

_MATCHER: Final = f"""
import json, re, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.setitimer(signal.ITIMER_PROF, {SECONDS})
pattern = re.compile(json.loads(sys.stdin.readline()))
while line := sys.stdin.readline():
    whole, text = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, {SECONDS})
    found = None
    if whole:
        found = pattern.fullmatch(text) is not None
    else:
        for last in pattern.finditer(text):
            found = last
        if found is not None:
            found = [found.group(1) if pattern.groups else found.group(0)]
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps(found), flush=True)
"""


class Expression:
    """A regular expression from the configuration, in the syntax of `re`.

    Args:
        text: the expression.
        key: what it is, for messages (`test task 'x': answer_pattern`).

    Raises:
        ConfigError: it is invalid, or longer than 10,000 characters.
    """

    def __init__(self, text: str, *, key: str) -> None:
        self._text, self._key = text, key
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        require_expression(text, key=key)

    def last_match(self, text: str) -> str | None:
        """Return the last match (its group 1 if it has one); None if nothing matches.

        Raises:
            ConfigError: the text costs the expression too much.
        """
        found = self._ask(text, whole=False)
        return None if found is None else found[0]

    def matches_whole(self, text: str) -> bool:
        """Return whether the whole text matches.

        Raises:
            ConfigError: the text costs the expression too much.
        """
        return bool(self._ask(text, whole=True))

    def _ask(self, text: str, *, whole: bool) -> Any:
        with self._lock:
            process = self._process or self._start()
            try:
                assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the type checker
                process.stdin.write(json.dumps([whole, text]) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if answer:
                return json.loads(answer)
            self._process = None
            process.wait()
        msg = (
            f"{self._key}: {brief(repr(self._text))} takes more than {SECONDS} s of processor time,"
            f" or a gigabyte, on a text of {len(text):,} characters ({brief(repr(text))}); write it"
            " without repetitions within repetitions"
        )
        raise ConfigError(msg)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MATCHER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, encoding="ascii", env={}, start_new_session=True,
        )  # fmt: skip
        weakref.finalize(self, _end, process)
        assert process.stdin is not None  # noqa: S101 - for the type checker
        process.stdin.write(json.dumps(self._text) + "\n")
        self._process = process
        return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@lru_cache(maxsize=64)
def expression(text: str, *, key: str) -> Expression:
    """Return an `Expression`; the same arguments give the same one, with its process."""
    return Expression(text, key=key)


def require_expression(text: str, *, key: str) -> None:
    """Check that a text is a regular expression.

    Raises:
        ConfigError: it is none, or longer than 10,000 characters.
    """
    if len(text) > _LONGEST:
        msg = f"{key}: longer than {_LONGEST:,} characters ({len(text):,}); shorten it"
        raise ConfigError(msg)
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        msg = f"{key} {brief(repr(text))} is not a regular expression ({error})"
        raise ConfigError(msg) from error
