"""Templates that take too many steps, on one row or on every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bids_core.data.rejects import RejectedRow
from bids_core.errors import ConfigError

TOO_COSTLY: Final = "template-too-costly"
_ALWAYS: Final = 3
"""So many rows, all of those rendered so far: then it is the template and not the row."""


def too_costly(what: str, reason: str | None) -> RejectedRow:
    """Return the reject of a row whose rendering takes too many steps.

    Args:
        what: the template, for the message.
        reason: how it failed.
    """
    detail = f"{what}: {reason}; write it without large repetitions, or raise data.template_steps"
    return RejectedRow(TOO_COSTLY, detail)


@dataclass(slots=True)
class CostlyRows:
    """Counts the rows on which a template takes too many steps, until it did not on one.

    Args:
        where: whose rows, for the message.
    """

    where: str
    _count: int | None = 0

    def saw(self, problem: RejectedRow | None) -> None:
        """Take note of a row.

        Args:
            problem: why it is rejected, None if it is not.

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
