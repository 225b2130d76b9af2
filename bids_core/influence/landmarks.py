"""Influence inferred from landmarks: rows whose influence is known stand for all others.

Rows with like hidden states have like influence. So the influence of a row on each validation
instance is predicted from its representation e_i by kernel ridge regression on the landmarks:

    A_ij = mean_j + k(e_i, E_L) (K_LL + lambda I)^-1 (A_Lj - mean_j),    k(e, f) = e . f

with representations centred on the landmarks' mean and scaled to length one. lambda is the value
with the least error when each landmark is predicted from all others, which has a closed form. The
same regression is a Gaussian process, whose posterior variance says how far a row is from all
landmarks; it is scaled so that the landmarks' own leave-one-out errors come out right.

Source: Influence Distillation (arXiv 2505.19051), section 4, for landmarks; their embedding is a
Jacobian-vector product, ours the hidden states that `rds_plus` selects by.

Shapes: N rows, L landmarks, M validation instances, H hidden size, b rows of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError

Floats = npt.NDArray[np.float64]

_LEAST: Final = 8
"""Fewer landmarks say nothing of their own error."""
_RIDGES: Final = np.logspace(-6, 2, 33)
"""Values of lambda that are tried, as shares of the kernel's mean eigenvalue."""


@dataclass(frozen=True)
class Landmarks:
    """A fitted regression.

    Args:
        center: [H] mean representation of the landmarks.
        directions: [L, H] their centred representations, of length one.
        inverse: [L, L] (K + lambda I)^-1.
        mean: [M] mean influence of the landmarks.
        coefficients: [L, M].
        ridge: lambda.
        noise: squared scale of a prediction's error, in the columns' variances.
        explained: [M] share of each column's variance that is explained, leaving one out (R^2).
        left_out: [L, M] each landmark's influence as the others predict it.
    """

    center: Floats
    directions: Floats
    inverse: Floats
    mean: Floats
    coefficients: Floats
    ridge: float
    noise: float
    explained: Floats
    left_out: Floats

    def predict(self, representations_bH: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the influence of some rows and how far off it is expected to be.

        Args:
            representations_bH: [b, H], pooled as the landmarks' were.

        Returns:
            [b, M] influence, and [b] the expected error (one sigma) of a row's entries, in standard
            deviations of the columns.

        Raises:
            MatrixError: a representation is not finite, or of another size.
        """
        rows = _directions(_checked(representations_bH, width=len(self.center)), self.center)
        kernel_bL = rows @ self.directions.T
        spread = (kernel_bL @ self.inverse * kernel_bL).sum(axis=1)
        own = (rows**2).sum(axis=1)
        variance = np.maximum(own - spread, 0.0) + self.ridge
        return self.mean + kernel_bL @ self.coefficients, np.sqrt(self.noise * variance)


def fit_landmarks(representations_LH: npt.ArrayLike, influence_LM: npt.ArrayLike) -> Landmarks:
    """Fit the regression from representations to influence.

    Args:
        representations_LH: [L, H] of the landmarks.
        influence_LM: [L, M] their influence.

    Raises:
        MatrixError: shapes differ, an entry is not finite, or there are fewer than 8 landmarks.
    """
    states = _checked(representations_LH)
    influence = _checked(influence_LM)
    if len(states) != len(influence):
        msg = f"{len(states)} representations for {len(influence)} landmarks"
        raise MatrixError(msg)
    if len(states) < _LEAST:
        msg = f"{len(states)} landmarks are too few to infer from: at least {_LEAST} are needed"
        raise MatrixError(msg)
    center, mean = states.mean(axis=0), influence.mean(axis=0)
    directions, targets = _directions(states, center), influence - mean
    values, vectors = np.linalg.eigh(directions @ directions.T)
    values = np.maximum(values, 0.0)
    scale = targets.std(axis=0)
    units = targets / np.where(scale > 0, scale, 1.0)
    rotated, squared = vectors.T @ units, vectors**2
    best: tuple[float, float] | None = None
    typical = float(values.mean()) or 1.0  # all states the same: nothing to tell rows by
    for ridge in _RIDGES * typical:
        weights = 1 / (values + ridge)
        errors = (vectors @ (weights[:, None] * rotated)) / (squared @ weights)[:, None]
        mean_square = float((errors**2).mean())
        if best is None or mean_square < best[0]:
            best = mean_square, float(ridge)
    assert best is not None  # noqa: S101 - for the type checker
    ridge = best[1]
    inverse = (vectors / (values + ridge)) @ vectors.T
    coefficients, precision = inverse @ targets, np.diag(inverse)
    errors = coefficients / precision[:, None]  # leave-one-out residuals of ridge regression
    relative = errors / np.where(scale > 0, scale, 1.0)
    return Landmarks(
        center=center,
        directions=directions,
        inverse=inverse,
        mean=mean,
        coefficients=coefficients,
        ridge=ridge,
        noise=float((relative**2 * precision[:, None]).mean()),
        explained=1 - (relative**2).mean(axis=0),
        left_out=influence - errors,
    )


def _directions(states: Floats, center: Floats) -> Floats:
    """Return centred states of length one; a state at the centre has no direction and stays."""
    shifted = states - center
    lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
    directions: Floats = shifted / np.where(lengths > 0, lengths, 1.0)
    return directions


def _checked(values: npt.ArrayLike, *, width: int | None = None) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or (width is not None and array.shape[1] != width):
        msg = f"landmarks need [rows, {width or 'columns'}] values, not {list(array.shape)}"
        raise MatrixError(msg)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"row {row} of what landmarks are fitted to or predict from is not finite"
        raise MatrixError(msg)
    return array
