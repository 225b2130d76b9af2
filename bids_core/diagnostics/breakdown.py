"""Which kinds of rows were picked: a column of the data, in the pool and in each selection.

Any extra column of the rows (language, licence, origin, your own `kind`) can be broken down, if it
has few enough values. Selection never sees these columns.

Shapes: N training rows, B picks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

POOL: Final = "pool"
"""Name of the set that is the whole pool."""
MISSING: Final = "(none)"
"""Value of rows that do not have a column, or have it empty."""
MOST_VALUES: Final = 12
"""A column with more values than this is not broken down unless it is asked for."""


def few_valued(extras: Sequence[str | None], *, most: int = MOST_VALUES) -> dict[str, list[str]]:
    """Return the columns whose values are few enough to count, as text.

    Args:
        extras: [N] further columns of each row, a JSON object as text; None where a row has none.
        most: values that a column may have.

    Returns:
        Column name -> [N] values, in the order in which the columns first appear. Left out are
        columns with one value only, with more than `most`, and with values that are not text,
        numbers or truth values.
    """
    rows = [json.loads(extra) if extra else {} for extra in extras]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [_as_text(row.get(name)) for row in rows]
        if all(value is not None for value in values) and 1 < len(set(values)) <= most:
            found[name] = [str(value) for value in values]
    return found


def breakdown(
    columns: Mapping[str, Sequence[str]], selections: Mapping[str, npt.NDArray[np.int64]]
) -> pd.DataFrame:
    """Count each value of some columns in the pool and in each selection.

    Args:
        columns: name -> [N] value of each training row.
        selections: name -> [B] indices of the picked rows.

    Returns:
        One row per column, value and set: column, value, set (`pool`, then the selections), count,
        share (of the set), lift (its share over the pool's share). Values by their count in the
        pool, most first.
    """
    lines = []
    for name, values in columns.items():
        of_row = np.array(values, dtype=object)
        sets = {POOL: of_row, **{key: of_row[rows] for key, rows in selections.items()}}
        pool = pd.Series(of_row).value_counts(sort=True)
        for value, in_pool in pool.items():
            for key, members in sets.items():
                count = int((members == value).sum())
                share = count / len(members) if len(members) else 0.0
                lines.append(
                    {
                        "column": name,
                        "value": value,
                        "set": key,
                        "count": count,
                        "share": share,
                        "lift": share * len(of_row) / int(in_pool),
                    }
                )
    return pd.DataFrame(lines, columns=["column", "value", "set", "count", "share", "lift"])


def _as_text(value: Any) -> str | None:
    """Return a value's countable form; None if it has none (a list, an object)."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None
