"""Checks on the arguments of `select`, `analyze` and `explain`, with one-line messages.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bids_core.errors import MatrixError
from bids_core.influence.files import LabelledMatrix, open_matrix
from bids_core.influence.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bids_core.influence.matrix import MatrixLike

Names: TypeAlias = "Iterable[object] | Mapping[Any, object] | str | Path"
"""Names of rows or columns: in their order; or by id (a dictionary or a pandas Series); or the path
of a file with either (`bids_core.influence.Labels.with_file`)."""

_FILES: Final = (".txt", ".json", ".csv", ".parquet")
_MAX_SEED: Final = 2**32 - 1


def names_in_order(
    names: Names, ids: Sequence[str] | None, length: int | None, *, what: str, of: str
) -> Iterable[object]:
    """Return names in the order of the rows (or columns) they belong to.

    Args:
        names: as the caller gave them.
        ids: of the rows or columns; None: 0, 1, ...
        length: number of rows or columns; None: any.
        what: the argument, for messages: `tasks`.
        of: what they name, for messages: `validation instances`.

    Raises:
        MatrixError: they are one text instead of a list, or an id has no name.
    """
    if isinstance(names, str | Path):
        return _of_file(Path(names), ids, length, what=what, of=of)
    if isinstance(names, Mapping):
        given = {str(key): name for key, name in names.items()}
    elif hasattr(names, "index") and hasattr(names, "items"):  # a pandas Series
        given = {str(key): name for key, name in names.items()}
        if not set(_ids(ids, length)) <= set(given):
            return list(names)  # its index has none of these ids: take it in order
    elif isinstance(names, Iterable):
        return names
    else:
        msg = f"`{what}` must be a list, one for each of the {of}, not {_shown(names)}"
        raise MatrixError(msg)
    missing = [name for name in _ids(ids, length) if name not in given]
    if missing:
        msg = f"`{what}` has no entry for {missing[0]!r} ({len(missing)} of the {of} are missing)"
        raise MatrixError(msg)
    return [given[name] for name in _ids(ids, length)]


def _ids(ids: Sequence[str] | None, length: int | None) -> list[str]:
    return [str(place) for place in range(length or 0)] if ids is None else list(map(str, ids))


def _of_file(
    path: Path, ids: Sequence[str] | None, length: int | None, *, what: str, of: str
) -> Iterable[object]:
    filed = what in ("tasks", "sources")
    if not filed or path.suffix.lower() not in _FILES:
        or_file = f", or the path of a file ({', '.join(_FILES)})" if filed else ""
        msg = f"`{what}` must be a list, one for each of the {of}{or_file}, not {_shown(str(path))}"
        raise MatrixError(msg)
    if what == "tasks":
        found = Labels(0, length, validation_ids=ids).with_file(path, of="tasks").tasks
    else:
        found = Labels(length or 0, row_ids=ids).with_file(path, of="sources").sources
    return found or ()


def checked_seed(seed: object) -> int:
    """Return a seed, checked.

    Raises:
        MatrixError: it is not an integer from 0 to 2^32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        msg = f"`seed` must be an integer, not {_shown(seed)}"
        raise MatrixError(msg)
    if not 0 <= int(seed) <= _MAX_SEED:
        msg = f"`seed` must be from 0 to {_MAX_SEED}, not {seed}"
        raise MatrixError(msg)
    return int(seed)


def checked_method(method: object) -> None:
    """Check that a value can be a method.

    Raises:
        MatrixError: it is neither a name nor a function.
    """
    if not isinstance(method, str) and not callable(method):
        msg = f"`method` must be the name of a method or a function, not {_shown(method)}"
        raise MatrixError(msg)


def opened(
    attribution: MatrixLike | LabelledMatrix | str | Path,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
) -> LabelledMatrix:
    """Return the matrix that was passed as `attribution`, with its names.

    Raises:
        MatrixError: it is not a matrix; the message says what was passed.
    """
    if attribution is None or isinstance(attribution, Mapping | numbers.Number):
        msg = (
            "`attribution` must be an [N, M] array, a pandas frame or the path of a matrix, not "
            f"{_shown(attribution)}"
        )
        raise MatrixError(msg)
    return open_matrix(attribution, row_ids=row_ids, validation_ids=validation_ids)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:40] + '...'} ({type(value).__name__})"


def checked_rows(rows: npt.ArrayLike, n_rows: int, name: str) -> None:
    """Refuse row indices that are not rows of the matrix.

    Raises:
        MatrixError: they are not integers, or outside the matrix; the message names the selection.
    """
    import numpy as np

    found = np.asarray(rows)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        msg = f"selection {name!r} must be a Selection or a list of row indices, not {_shown(rows)}"
        raise MatrixError(msg)
    outside = found[(found < 0) | (found >= n_rows)]
    if len(outside):
        msg = f"selection {name!r}: row {outside[0]} is outside the {n_rows} rows of the matrix"
        raise MatrixError(msg)
