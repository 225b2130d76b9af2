"""The figure of one method's differences from others, by score or by answer loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison.results import RANDOM
from bids_core.report.comparison_figures import Mark, forest
from bids_core.report.names import PLAIN
from bids_core.report.svg import WIDE, responsive
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from bids_core.comparison import Comparison
    from bids_core.report.names import Look

WHAT: Final = {"score": "macro average", "loss": "held-out answer loss"}
_UNITS: Final = {"score": "percentage points", "loss": "nats"}


def difference_figure(
    comparison: Comparison, family: str, of: str, looks: Mapping[str, Look], *, wide: float = WIDE
) -> Markup | None:
    """Draw differences with their intervals around zero; None if there are none.

    Args:
        comparison: its tables.
        family: `random` (every method against random selection), or the main method's name (that
            method against every other).
        of: `score` or `loss`.
        looks: of each method.
        wide: width of the drawing on a screen.
    """
    frame = comparison.differences
    if frame.empty:
        return None
    part = frame[(frame["family"] == family) & (frame["of"] == of)]
    rows = [(_pair(row), _mark(row, of, looks)) for row in part.to_dict(orient="records")]
    if not rows:
        return None
    return responsive(
        lambda width: forest(
            rows,
            label=f"Differences in {WHAT[of]} with 95% intervals",
            axis=f"difference in {WHAT[of]}, {_UNITS[of]}",
            width=width,
        ),
        wide=wide,
    )


def _pair(row: Mapping[Any, Any]) -> str:
    if row["family"] == RANDOM:
        return f"{method_label(row['method'])}, {row['n_rows']:,} rows"
    return f"against {method_label(row['other'])}, {row['n_rows']:,} rows"


def _mark(row: Mapping[Any, Any], of: str, looks: Mapping[str, Look]) -> Mark:
    shown = row["method"] if row["family"] == RANDOM else row["other"]
    scale = 100 if of == "score" else 1
    value, low, high = (scale * float(row[key]) for key in ("value", "low", "high"))
    return Mark(_pair(row), value, low, high, looks.get(shown, PLAIN))
