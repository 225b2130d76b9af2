"""Names of rows and columns (ids, tasks, subtasks, capabilities, sources) and files that hold them.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import LISTED_BYTES, read_small_bytes, read_small_json, read_small_text
from bids_core.errors import UserError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

ROW_ID: Final = "row_id"
VALIDATION_ID: Final = "validation_id"


@dataclass(frozen=True)
class Labels:
    """What is known about rows and columns; None where nothing is known.

    Args:
        n_rows: number of rows N.
        n_columns: number of validation instances M; None where there are none.
        row_ids: N names; without them rows are named by their index.
        validation_ids: M names; without them columns are named by their index.
        tasks: M names.
        subtasks: M names.
        capabilities: M names.
        sources: N names.
    """

    n_rows: int
    n_columns: int | None = None
    row_ids: Sequence[str] | None = None
    validation_ids: Sequence[str] | None = None
    tasks: tuple[str, ...] | None = None
    subtasks: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None

    def column_name(self, column: int) -> str:
        """Return a column's name for messages."""
        if self.validation_ids is None:
            return f"column {column}"
        return f"column {column} ({brief(repr(self.validation_ids[column]))})"

    def with_file(self, path: Path, *, of: str) -> Labels:
        """Add the labels from a file.

        Args:
            path: `.txt`: one name per line, in the order of the columns (rows, for sources).
                `.json`: a list in that order, or an object that maps validation ids (row ids) to
                names. `.csv` or `.parquet`: columns `validation_id` (`row_id`) and `task`
                (`source`); columns `subtask` and `capability` are read too. In a matrix without
                names, ids are the numbers 0, 1, ...
            of: `tasks` or `sources`.

        Raises:
            UserError: the file cannot be read, or does not match the matrix.
        """
        if of == "tasks":
            known, count, key, what = self.validation_ids, self.n_columns, VALIDATION_ID, "columns"
        else:
            known, count, key, what = self.row_ids, self.n_rows, ROW_ID, "rows"
        if count is None:
            msg = (
                f"{path}: the input has no validation instances, so tasks have no use; "
                "leave the option out"
            )
            raise UserError(msg)
        ids = [str(place) for place in range(count)] if known is None else list(known)
        found: dict[str, Any] = {}
        suffix = path.suffix.lower()
        if suffix in (".csv", ".parquet"):
            found = _of_table(path, ids, key=key, of=of)
        else:
            listed = read_json(path) if suffix == ".json" else read_lines(path)
            found[of] = _mapped(listed, ids, path, key) if isinstance(listed, dict) else listed
        for kind, names in found.items():
            if len(names) != count:
                msg = f"{path} has {len(names)} {kind} but the matrix has {count} {what}"
                raise UserError(msg)
        changes: dict[str, Any] = {kind: tuple(map(str, names)) for kind, names in found.items()}
        return replace(self, **changes)


def _of_table(path: Path, ids: Sequence[str], *, key: str, of: str) -> dict[str, Any]:
    frame = read_frame(path)
    columns = {"tasks": "task", "sources": "source"}
    for needed in (key, columns[of]):
        if needed not in frame:
            msg = f"{path} has no column {needed!r} (it has {brief(', '.join(map(str, frame)))})"
            raise UserError(msg)
    names = {of: columns[of]}
    if of == "tasks":
        names |= {"subtasks": "subtask", "capabilities": "capability"}
    keys = frame[key].astype(str)
    return {
        kind: _mapped(dict(zip(keys, frame[name], strict=True)), ids, path, key)
        for kind, name in names.items()
        if name in frame
    }


def _mapped(mapping: dict[str, Any], ids: Sequence[str], path: Path, key: str) -> list[Any]:
    missing = [name for name in ids if name not in mapping]
    if missing:
        first = brief(repr(missing[0]))
        msg = f"{path} has no label for {key} {first} ({len(missing)} are missing)"
        raise UserError(msg)
    return [mapping[name] for name in ids]


def read_json(path: Path) -> Any:
    """Return the list or object of a JSON file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        value = read_small_json(path, most=LISTED_BYTES)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as JSON: {brief(error)}"
        raise UserError(msg) from error
    if not isinstance(value, list | dict):
        msg = f"{path} must hold a list of names or an object that maps ids to names"
        raise UserError(msg)
    return value


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; blank lines at its end do not count.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = read_small_text(path, most=LISTED_BYTES).rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as text: {error}"
        raise UserError(msg) from error
    return [line.strip() for line in lines]


def read_frame(path: Path) -> pd.DataFrame:
    """Read a `.parquet` or `.csv` file.

    Raises:
        UserError: it is missing, damaged, or a small file that unpacks to a huge table.
    """
    import pandas as pd

    from bids_core.data import require_bounded

    try:
        if path.suffix.lower() == ".csv":
            return pd.read_csv(io.BytesIO(read_small_bytes(path, most=LISTED_BYTES)))
        require_bounded(path)
        return pd.read_parquet(path)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # includes pyarrow's and pandas' own errors; the others come from damaged metadata
        msg = f"{path} cannot be read as a table: {brief(error) or type(error).__name__}"
        raise UserError(msg) from error
