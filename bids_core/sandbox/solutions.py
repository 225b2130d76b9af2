"""From an answer and a row's tests to a program that checks whether the answer is correct.

Two kinds of rows are recognised by their fields: HumanEval's (`prompt`, `test`, `entry_point`) and
MBPP's (`test_list`, perhaps `test_imports` and `test_setup_code`). In any other row, a text field
`test` is appended to the answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from bids_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FENCE: Final = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


def solution_program(answer: str, row: Mapping[str, Any]) -> str:
    """Put an answer and the row's tests together.

    The answer's code is its first fenced block or, without one, the whole answer. For a row with an
    entry point it may be the whole function or a continuation of the row's prompt.

    Args:
        answer: what the model wrote.
        row: the row's fields as in the file.

    Raises:
        DataError: the row has no tests.
    """
    code = extract_code(answer)
    if isinstance(row.get("entry_point"), str):
        name, prompt = row["entry_point"], str(row.get("prompt", ""))
        whole = re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(name)}\b", code, re.MULTILINE)
        head, _, _ = prompt.partition(f"def {name}")
        code = f"{head}\n{code}" if whole else f"{prompt}{code}"
        return f"{code}\n{_text(row, 'test')}\ncheck({name})\n"
    if "test_list" in row:
        setup = str(row.get("test_setup_code") or "")  # the test uses the answer's classes
        return "\n".join([*_lines(row, "test_imports"), code, setup, *_lines(row, "test_list"), ""])
    return f"{code}\n{_text(row, 'test')}\n"


def extract_code(answer: str) -> str:
    """Return the first fenced block of an answer, or all of it, with plain newlines."""
    answer = answer.replace("\r\n", "\n")
    found = _FENCE.search(answer)
    return found.group(1) if found else answer


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        msg = (
            f"the row has no tests: {field!r} is {value!r}; metric code needs `test` (with "
            "`entry_point`, as in HumanEval) or `test_list` (as in MBPP)"
        )
        raise DataError(msg)
    return value


def _lines(row: Mapping[str, Any], field: str) -> list[str]:
    value = row.get(field) or []
    if field == "test_list" and not value:
        msg = "the row has no tests: `test_list` is empty"
        raise DataError(msg)
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        msg = f"the row's {field!r} is not a list of texts"
        raise DataError(msg)
    return value
