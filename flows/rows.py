"""Rows in memory, written as the JSONL files that the pipeline reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from bids_core.errors import DataError

Rows: TypeAlias = Any
"""A list of dictionaries, a pandas frame, or a `datasets.Dataset`."""


def rows_of(given: Rows, what: str) -> list[dict[str, Any]]:
    """Return rows as a list of dictionaries.

    Args:
        given: the rows.
        what: the argument, for messages: `validation['math']`.

    Raises:
        DataError: they have another type, or there are none.
    """
    if isinstance(given, str | Path):
        msg = (
            f"`{what}` must be rows, not the path {str(given)!r}; for files, write a "
            "bids.yaml and use `bids run`"
        )
        raise DataError(msg)
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # a pandas frame
        rows = [_without_missing(row) for row in given.to_dict(orient="records")]
    elif isinstance(given, Mapping) or not isinstance(given, Iterable):
        msg = f"`{what}` must be a list of dictionaries, a frame or a data set, not "
        raise DataError(msg + type(given).__name__)
    else:
        rows = list(given)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            msg = f"`{what}`: row {number} is {_kind(row)}; rows are dictionaries"
            raise DataError(msg)
    if not rows:
        msg = f"`{what}` has no rows"
        raise DataError(msg)
    return [dict(row) for row in rows]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], what: str) -> None:
    """Write rows as JSONL, the n-th on line n; make parent folders, replace an existing file.

    Raises:
        DataError: a row has a value that JSON cannot represent; the message names the row.
    """
    lines = []
    for number, row in enumerate(rows):
        try:
            lines.append(json.dumps(row, default=_plain, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            msg = f"`{what}`: row {number} cannot be written as JSON: {error}"
            raise DataError(msg) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _plain(value: object) -> object:
    """Convert what json cannot write: numpy's numbers and arrays, times, paths."""
    for convert in ("tolist", "isoformat", "__fspath__"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    msg = f"{_kind(value)} cannot be represented in JSON"
    raise TypeError(msg)


def _without_missing(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a frame's row without missing values."""
    return {
        str(name): value
        for name, value in row.items()
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:60]
