"""The user's scorer functions: imports them, identifies them by their source, checks their results.

A scorer takes a generation and the row's fields as they are in the file, and returns a number from
0 to 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bids_core.data.rejects import shorten
from bids_core.errors import DataError
from bids_core.own_code import load_function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bids_core.config import TestTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scorer function.

    Args:
        name: its name in the configuration.
        function: maps (generation, fields) to a number.
        digest: digest of the file that defines it, and of its module's `__version__` if there is
            one.
    """

    name: str
    function: Callable[[str, Mapping[str, Any]], Any]
    digest: str

    def score(self, generation: str, fields: Mapping[str, Any], *, row: str) -> float:
        """Score one generation.

        Args:
            generation: the model's output.
            fields: the row as it is in the file.
            row: its name in messages.

        Raises:
            DataError: the scorer raised, or returned something other than a number from 0 to 1.
        """
        try:
            value = self.function(generation, fields)
        except Exception as error:
            what = f"raised {type(error).__name__}: {shorten(str(error), 120)}"
            raise DataError(self._complaint(row, what, generation)) from error
        if isinstance(value, bool) or not isinstance(value, int | float):
            item = getattr(value, "item", None)  # numpy's and torch's numbers
            value = item() if callable(item) and getattr(value, "size", 2) == 1 else value
        if not isinstance(value, bool | int | float) or not 0.0 <= value <= 1.0:
            what = f"returned {shorten(value)}, not a number from 0 to 1"
            raise DataError(self._complaint(row, what, generation))
        return float(value)

    def _complaint(self, row: str, what: str, generation: str) -> str:
        text = f"{row}: scorer {self.name} {what}, for the answer {shorten(generation, 80)}"
        return " ".join(text.split()) + "; fix the scorer or the row"


def load_scorer(task: TestTask) -> Scorer:
    """Import a task's scorer.

    Raises:
        ConfigError: it does not exist, cannot be imported, or cannot be called with two arguments.
    """
    name = task.scorer or ""
    found = load_function(
        name,
        where=f"test task {task.task!r}: scorer {name!r}",
        example="scorers.py",
        call="(generation, row)",
        arguments=("", {}),
    )
    return Scorer(name, found.function, found.digest)


def try_scorer(
    scorer: Scorer, *, reference: str, fields: Mapping[str, Any], row: str, task: str
) -> None:
    """Run a scorer once, on a row's reference answer (an empty text if it has none).

    Raises:
        DataError: it raises, or returns something other than a number from 0 to 1.
    """
    found = scorer.score(reference, fields, row=row)
    if reference and found < 1.0:
        logger.warning(
            "test task %r: scorer %s gives the reference answer of %s %g, not 1; does it "
            "read the row's fields as intended?",
            task, scorer.name, row, found,
        )  # fmt: skip
