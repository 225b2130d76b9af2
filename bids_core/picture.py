"""Matplotlib figures, in colours that colour-blind readers can distinguish too."""

from __future__ import annotations

import io
from typing import Final

from bids_core.errors import UserError

try:
    from matplotlib.figure import Figure
except ImportError as error:
    msg = 'figures need matplotlib: pip install "bids-select[plot]"'
    raise UserError(msg) from error

__all__ = ["COLOURS", "MARKERS", "OTHERS", "Picture", "colour"]

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's colours, which colour-blind readers can distinguish."""
MARKERS: Final = "osD^vPX*<>"
"""Markers; with the colours, they distinguish up to 70 groups."""
OTHERS: Final = "others"
"""The group of everything without its own colour."""


class Picture(Figure):
    """A figure that notebooks show when it is returned, whatever plotting backend is set."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=110, bbox_inches="tight")
        return drawn.getvalue()


def colour(place: int, group: str = "") -> str:
    """Return the colour of the group at an index; grey for `OTHERS`."""
    return "#999999" if group == OTHERS else COLOURS[place % len(COLOURS)]
