"""The file in a run folder with the results of `bids validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import read_small_json

if TYPE_CHECKING:
    from pathlib import Path

VALIDATION: Final = "validation.json"


def read_validation(folder: Path, matrix: str | None) -> dict[str, Any] | None:
    """Return the validation results for a run's influence.

    Args:
        folder: of the run.
        matrix: key of the run's attribution matrix.

    Returns:
        None if nothing was measured, or the measurement was of other influence.
    """
    path = folder / VALIDATION
    if matrix is None or not path.is_file():
        return None
    content = dict(read_small_json(path))
    return content if content["matrix"] == matrix else None
