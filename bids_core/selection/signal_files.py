"""Files of texts and perplexities, for the selection methods that need no influence.

Shapes: N rows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import UserError
from bids_core.formatting import brief
from bids_core.influence.arrays import read_npy
from bids_core.influence.labels import ROW_ID, VALIDATION_ID, read_frame, read_json, read_lines

if TYPE_CHECKING:
    from pathlib import Path


def read_texts(path: Path) -> tuple[list[str] | None, list[str]]:
    """Read one text per row.

    Args:
        path: `.txt` (one per line), `.json` (a list of strings or objects, or an object that maps
            ids to texts), `.jsonl` (an object per line), `.csv` or `.parquet`. An object or table
            row has `text`, `messages` or `prompt` and `completion`, and may have `row_id` (or
            `validation_id`).

    Returns:
        The ids (None if the file has none) and the texts.

    Raises:
        UserError: the file cannot be read, or a row has no text.
    """
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return None, read_lines(path)
    if suffix == ".json":
        listed = read_json(path)
        if isinstance(listed, dict):
            return list(listed), [_text(row, path, n) for n, row in enumerate(listed.values(), 1)]
        rows = listed
    elif suffix == ".jsonl":
        rows = [_line(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    else:
        rows = read_frame(path).to_dict("records")
    ids = [_id(row) for row in rows]
    texts = [_text(row, path, number) for number, row in enumerate(rows, 1)]
    return ([str(name) for name in ids] if all(ids) else None), texts


def read_perplexities(path: Path) -> npt.NDArray[np.float64]:
    """Read one number per row: `.txt` (one per line), `.npy`, or a table's column `perplexity`.

    Raises:
        UserError: the file cannot be read, or contains something other than numbers.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return read_npy(path, what="numbers").astype(np.float64)
        if suffix == ".txt":
            return np.array([float(line) for line in read_lines(path)])
        frame = read_frame(path)
        if "perplexity" not in frame:
            msg = f"{path} has no column 'perplexity' (it has {brief(', '.join(map(str, frame)))})"
            raise UserError(msg)
        return frame["perplexity"].to_numpy(dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"{path} cannot be read as numbers: {brief(error)}"
        raise UserError(msg) from error


def _line(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{path}:{number} is not JSON: {brief(error)}"
        raise UserError(msg) from error


def _id(row: Any) -> Any:
    return (row.get(ROW_ID) or row.get(VALIDATION_ID)) if isinstance(row, dict) else None


def _text(row: Any, path: Path, number: int) -> str:
    if isinstance(row, str):
        return row
    if isinstance(row, dict):
        messages = row.get("messages")
        if isinstance(messages, str):
            messages = _line(messages, path, number)
        if isinstance(messages, list) and all(isinstance(turn, dict) for turn in messages):
            return "\n".join(str(turn.get("content", "")) for turn in messages)
        if isinstance(row.get("text"), str):
            return str(row["text"])
        if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
            return f"{row['prompt']}\n{row['completion']}"
    msg = f"{path}:{number}: the row has no `text`, `messages`, or `prompt` and `completion`"
    raise UserError(msg)
