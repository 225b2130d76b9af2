"""Influence inferred from landmarks: rows with known influence represent similar rows.

Rows with similar hidden states have similar influence. Each row takes the influence of the landmark
whose representation is nearest, by the cosine of representations centred on the landmarks' mean:

    A_ij = A_n(i)j,    n(i) = argmax over landmarks l of cos(e_i - mean, e_l - mean)

One neighbour, not a mean of several: a mean shrinks inferred values towards the columns' means, and
selection would then prefer the landmarks, whose influence is not shrunk. (Kernel ridge regression
has a smaller error but picks half as many of the right rows: docs/cheaper.md.)

A row's expected error grows with the distance to its landmark. It is measured on the landmarks:
each is given the influence of its nearest other landmark, and a non-decreasing line in 1 - cos is
fitted to the squared error.

Source: clusters and representatives as in ClusterLESS, landmarks as in Influence Distillation
(arXiv 2505.19051), with the hidden states of `rds_plus` in place of its embedding.

Shapes: N rows, L landmarks, M validation instances, H hidden size, b rows of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import finite_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.influence.matrix import MatrixLike

Floats = npt.NDArray[np.float64]

_LEAST: Final = 8
"""With fewer landmarks their own error cannot be estimated."""


@dataclass(frozen=True)
class Landmarks:
    """Landmarks, and the expected error of influence inferred from them.

    Args:
        center: [H] mean representation.
        directions: [L, H], their centred representations, of length one.
        influence: [L, M].
        agreement: [M] correlation of the landmarks' influence with that of their nearest other
            landmark; NaN for a column that does not vary.
        base: expected squared error of a row that coincides with a landmark, in units of the
            columns' variances.
        slope: by how much it grows for each unit of 1 - cos.
    """

    center: Floats
    directions: Floats
    influence: Floats
    agreement: Floats
    base: float
    slope: float

    def median_agreement(self, columns: npt.NDArray[np.bool_] | None = None) -> float | None:
        """Return the median agreement of some columns (None: all); None if none varies."""
        chosen = self.agreement if columns is None else self.agreement[columns]
        known = chosen[np.isfinite(chosen)]
        return float(np.median(known)) if len(known) else None

    def agreement_by_task(self, tasks: Sequence[str]) -> dict[str, float | None]:
        """Return the median agreement of each task.

        Args:
            tasks: M names.
        """
        names = np.array(tasks)
        return {task: self.median_agreement(names == task) for task in dict.fromkeys(tasks)}

    def predict(self, representations_bH: MatrixLike) -> tuple[Floats, Floats]:
        """Return the inferred influence of some rows, and its expected error.

        Args:
            representations_bH: [b, H], pooled as the landmarks' were.

        Returns:
            [b, M] influence, and [b] expected error (one sigma) of a row's entries, in standard
            deviations of the columns.

        Raises:
            MatrixError: a representation is not finite, or has another size.
        """
        nearest, error = self.nearest(representations_bH)
        return self.influence[nearest], error

    def nearest(self, representations_bH: MatrixLike) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the nearest landmark of some rows, and the expected error of taking its influence.

        Args:
            representations_bH: as `predict`.

        Returns:
            [b] indices of the landmarks, and [b] expected errors as `predict` returns them.

        Raises:
            MatrixError: as `predict`.
        """
        states = finite_values(representations_bH)
        if states.shape[1] != len(self.center):
            msg = (
                f"representations of width {states.shape[1]} for landmarks of width "
                f"{len(self.center)}: use the same model and pooling"
            )
            raise MatrixError(msg)
        rows = _directions(states, self.center)
        closeness_bL = rows @ self.directions.T
        nearest = closeness_bL.argmax(axis=1)
        distance = _distance(closeness_bL, nearest)
        return nearest, np.sqrt(self.base + self.slope * distance)


def fit_landmarks(representations_LH: MatrixLike, influence_LM: MatrixLike) -> Landmarks:
    """Return landmarks from which other rows' influence can be inferred.

    Args:
        representations_LH: [L, H] of the landmarks.
        influence_LM: [L, M], their influence.

    Raises:
        MatrixError: shapes differ, an entry is not finite, or there are fewer than 8 landmarks.
    """
    states, influence = finite_values(representations_LH), finite_values(influence_LM)
    if len(states) != len(influence):
        msg = f"{len(states)} representations for {len(influence)} landmarks"
        raise MatrixError(msg)
    if len(states) < _LEAST:
        msg = f"{len(states)} landmarks are too few to infer from: at least {_LEAST} are needed"
        raise MatrixError(msg)
    center = states.mean(axis=0)
    directions = _directions(states, center)
    closeness_LL = directions @ directions.T
    np.fill_diagonal(closeness_LL, -np.inf)
    nearest = closeness_LL.argmax(axis=1)
    distance = _distance(closeness_LL, nearest)
    scale = influence.std(axis=0)
    scaled = (influence - influence.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    base, slope = _line(distance, ((scaled - scaled[nearest]) ** 2).mean(axis=1))
    return Landmarks(
        center, directions, influence, _correlations(influence, influence[nearest]), base, slope
    )


def _distance(closeness: Floats, nearest: npt.NDArray[np.int64]) -> Floats:
    """Return 1 - cos to the nearest landmark, never negative despite rounding."""
    cosines = closeness[np.arange(len(closeness)), nearest]
    distance: Floats = np.maximum(1 - cosines, 0.0)
    return distance


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return intercept and slope of the least-squares line, neither of them negative."""
    shifted = x - x.mean()
    spread = float(shifted @ shifted)
    slope = float(shifted @ y) / spread if spread > 0 else 0.0
    level = float(y.mean()) - slope * float(x.mean())
    if slope < 0:
        return float(y.mean()), 0.0
    if level < 0:  # through the origin
        return 0.0, float(x @ y) / float(x @ x)
    return level, slope


def _correlations(one: Floats, other: Floats) -> Floats:
    a, b = (values - values.mean(axis=0) for values in (one, other))
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(scale > 0, (a * b).sum(axis=0) / scale, np.nan)
    return found


def _directions(states: Floats, center: Floats) -> Floats:
    """Return centred states of length one; one at the centre has no direction and stays zero."""
    shifted = states - center
    lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
    directions: Floats = shifted / np.where(lengths > 0, lengths, 1.0)
    return directions
