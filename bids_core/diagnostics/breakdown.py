"""Which kinds of rows were picked, by a column of the data: the pool against each selection.

Any extra column of the rows (language, licence, origin, your own `kind`) can be broken down if it
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
"""Value of rows in which a column is missing or empty."""
MOST_VALUES: Final = 12
"""A column with more values than this is not broken down unless requested."""


def few_valued(extras: Sequence[str | None], *, most: int = MOST_VALUES) -> dict[str, list[str]]:
    """Return the columns with few enough distinct values to count, as text.

    Args:
        extras: [N] extra columns of each row, as JSON text of an object; None if a row has none.
        most: most values that a column may have.

    Returns:
        Column name -> [N] values, in order of first appearance. Columns are left out if they have
        only one value, more than `most`, or values other than texts, numbers and booleans.
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
    """Count each value of these columns in the pool and in each selection.

    Args:
        columns: name -> [N] value of each training row.
        selections: name -> [B] indices of the picked rows.

    Returns:
        One row per column, value and set: column, value, set (`pool`, then the selections), count,
        share (of the set), lift (its share divided by the pool's share). Values are sorted by their
        count in the pool, most frequent first.
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
    """Return a value as countable text; None if it is not countable (a list, an object)."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None
