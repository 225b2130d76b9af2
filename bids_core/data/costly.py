"""Templates that take too many steps, on one row or on every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bids_core.data.rejects import RejectedRow
from bids_core.errors import ConfigError

TOO_COSTLY: Final = "template-too-costly"
_ALWAYS: Final = 3
"""After this many rows, if all of them failed, the template is at fault and not the rows."""


def too_costly(what: str, reason: str | None) -> RejectedRow:
    """Return the reject for a row whose rendering takes too many steps.

    Args:
        what: the template, for the message.
        reason: how it failed.
    """
    detail = f"{what}: {reason}; write it without large repetitions, or raise data.template_steps"
    return RejectedRow(TOO_COSTLY, detail)


@dataclass(slots=True)
class CostlyRows:
    """Counts rows on which a template takes too many steps, until one row succeeds.

    Args:
        where: whose rows, for the message.
    """

    where: str
    _count: int | None = 0

    def saw(self, problem: RejectedRow | None) -> None:
        """Record the outcome of a row.

        Args:
            problem: why it was rejected, or None.

        Raises:
            ConfigError: the template has taken too many steps on every row so far.
        """
        if self._count is None:
            return
        if problem is None or problem.reason != TOO_COSTLY:
            self._count = None
            return
        self._count += 1
        if self._count == _ALWAYS:
            detail = problem.detail.removeprefix(f"{self.where}: ")
            msg = f"{self.where}: on each of the first {_ALWAYS} rows, {detail}"
            raise ConfigError(msg)
