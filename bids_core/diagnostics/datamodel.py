"""Does summed influence predict real training runs? The linear datamodelling score (LDS).

A model is fine-tuned on each of S random subsets of equal size. For a held-out row j with loss L_sj
after subset s, and the subset's summed influence P_sj = sum_{i in s} A_ij,

    LDS_j = Spearman over s of (P_sj, -L_sj),

averaged over held-out rows. Recall at k is the fraction of the k subsets that are best for a row
that are among the k predicted best (chance is k / S). A test row has no column of its own: the mean
column of its task predicts it.

The method's expected gain is read off a line fitted to the subsets: with p_s and y_s the means over
tasks of P and of -L, b the slope of y on p, and p_B the value for the method's picks,

    gain = b (p_B - mean of p),

an extrapolation if p_B is far outside the range of the subsets; the output says so. To detect a
gain g in a comparison at the 5% level with 80% power, s seeds and n test rows must satisfy

    2 sigma_run^2 / s + sigma_row^2 / n <= (g / 2.8)^2.

Source: LDS, TRAK (arXiv 2303.14186), definition 2.3; 2.8 = 1.96 + 0.84, the usual normal power
calculation.

Shapes: S subsets, H held-out rows, R bootstrap draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.rank_correlation import (
    DRAWS,
    Estimate,
    mean_known,
    resampled_spearman,
    resamples,
    spearman,
)
from bids_core.errors import MatrixError
from bids_core.selection.request import checked_names, groups_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float64]

_POWER: Final = 2.8
_LEAST_SEEDS: Final = 3


@dataclass(frozen=True)
class Outcomes:
    """Held-out losses after training on random subsets, and the influence that predicts them.

    Args:
        predicted_SH: [S, H] summed influence of each subset on each row (or on its task).
        losses_SH: [S, H] loss after training on the subset, nats.
        tasks: H task names.
        method_H: [H] summed influence of as many of the method's picks.
    """

    predicted_SH: Floats
    losses_SH: Floats
    tasks: Sequence[str]
    method_H: Floats


@dataclass(frozen=True)
class Datamodel:
    """How well summed influence ranks training runs.

    Args:
        n_subsets: number of subsets, S.
        n_rows: number of held-out rows, H.
        k: number of best subsets for recall.
        lds: LDS, mean over rows.
        lds_by_task: LDS, mean over each task's rows.
        recall: recall at k, mean over rows; chance is k / n_subsets.
        gain: expected reduction of the mean loss compared with random rows, in nats.
        distance: distance of the method's picks from random subsets, in their standard deviations.
        run_deviation: sigma_run, standard deviation of the mean loss between training runs around
            the fitted line.
        row_deviation: sigma_row, standard deviation over rows of the loss difference between two
            training runs.
    """

    n_subsets: int
    n_rows: int
    k: int
    lds: Estimate
    lds_by_task: Mapping[str, Estimate]
    recall: Estimate
    gain: Estimate
    distance: float
    run_deviation: float
    row_deviation: float

    @property
    def needed(self) -> tuple[int, int] | None:
        """Seeds and test rows needed to detect the gain; None if there is none or it is unknown."""
        return needed_to_show(
            self.gain.value, run_deviation=self.run_deviation, row_deviation=self.row_deviation
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        needed = self.needed
        return {
            "n_subsets": self.n_subsets,
            "n_rows": self.n_rows,
            "k": self.k,
            "lds": self.lds.to_dict(),
            "lds_by_task": {name: e.to_dict() for name, e in self.lds_by_task.items()},
            "recall": self.recall.to_dict(),
            "recall_by_chance": self.k / self.n_subsets,
            "gain": self.gain.to_dict(),
            "distance": self.distance if math.isfinite(self.distance) else None,
            "needed_seeds": None if needed is None else needed[0],
            "needed_rows": None if needed is None else needed[1],
        }


def fit_datamodel(outcomes: Outcomes, *, draws: int = DRAWS, seed: int = 0) -> Datamodel:
    """Return LDS, recall and expected gain, with intervals over subsets.

    Args:
        outcomes: results for at least two subsets.
        draws: R bootstrap draws over subsets.
        seed: of the draws.

    Raises:
        MatrixError: there are fewer than two subsets, the shapes do not match, or an entry is not
            finite.
    """
    _require_fit(outcomes)
    predicted, better = outcomes.predicted_SH, -outcomes.losses_SH
    n_subsets, n_rows = better.shape
    k = max(1, n_subsets // 4)
    rho = spearman(predicted, better)
    drawn = resampled_spearman({"": predicted}, better, draws=draws, seed=seed)[""]
    names = checked_names(outcomes.tasks, n_rows, "tasks", "held-out rows") or ()
    groups = groups_of(names)
    p_S, y_S = _task_mean(predicted, groups), _task_mean(better, groups)
    p_B = float(_task_mean(outcomes.method_H[None], groups)[0])
    places = resamples(n_subsets, draws=draws, seed=seed)
    spread = float(p_S.std(ddof=1))
    return Datamodel(
        n_subsets=n_subsets,
        n_rows=n_rows,
        k=k,
        lds=Estimate.of(float(mean_known(rho)), mean_known(drawn)),
        lds_by_task={
            name: Estimate.of(float(mean_known(rho[c])), mean_known(drawn[:, c]))
            for name, c in zip(dict.fromkeys(names), groups, strict=True)
        },
        recall=Estimate.of(
            recall_at(predicted, better, k),
            [recall_at(predicted[rows], better[rows], k) for rows in places],
        ),
        gain=Estimate.of(
            _gain(p_S, y_S, p_B), [_gain(p_S[rows], y_S[rows], p_B) for rows in places]
        ),
        distance=(p_B - float(p_S.mean())) / spread if spread > 0 else math.nan,
        run_deviation=_off_the_line(p_S, y_S),
        row_deviation=_between_trainings(outcomes.losses_SH),
    )


def recall_at(predicted_SH: Floats, better_SH: Floats, k: int) -> float:
    """Return recall at k: how many of each row's k best subsets are among the k predicted best.

    Ties go to the earlier subset.
    """
    best = np.argsort(-better_SH, axis=0, kind="stable")[:k]
    chosen = np.argsort(-predicted_SH, axis=0, kind="stable")[:k]
    found = (best[:, None] == chosen[None]).any(axis=1)
    return float(found.mean())


def needed_to_show(
    gain: float, *, run_deviation: float, row_deviation: float
) -> tuple[int, int] | None:
    """Return the (seeds, test rows) with which a comparison would detect a gain.

    Half of the allowed variance is allotted to seeds, half to rows.

    Args:
        gain: gain in nats.
        run_deviation: sigma_run.
        row_deviation: sigma_row.

    Returns:
        None if there is no gain to detect, or a standard deviation is unknown.
    """
    if not gain > 0 or math.isnan(run_deviation + row_deviation):
        return None
    allowed = (gain / _POWER) ** 2
    seeds = max(_LEAST_SEEDS, math.ceil(2 * run_deviation**2 / (allowed / 2)))
    left = allowed - 2 * run_deviation**2 / seeds
    return seeds, max(1, math.ceil(row_deviation**2 / left))


def _require_fit(outcomes: Outcomes) -> None:
    predicted, losses = outcomes.predicted_SH, outcomes.losses_SH
    if predicted.shape != losses.shape or outcomes.method_H.shape != losses.shape[1:]:
        msg = f"predictions {predicted.shape} and losses {losses.shape} do not fit together"
        raise MatrixError(msg)
    if len(losses) < 2:
        msg = f"{len(losses)} subsets are too few for a conclusion: train on at least 20"
        raise MatrixError(msg)
    if not all(np.isfinite(v).all() for v in (predicted, losses, outcomes.method_H)):
        msg = "a held-out loss or a summed influence is NaN or infinite"
        raise MatrixError(msg)


def _task_mean(values_SH: Floats, groups: Sequence[npt.NDArray[np.int64]]) -> Floats:
    """Return the mean over each task's rows, then over tasks, [S]."""
    means: Floats = np.mean([values_SH[:, rows].mean(axis=1) for rows in groups], axis=0)
    return means


def _slope(p_S: Floats, y_S: Floats) -> float:
    p = p_S - p_S.mean()
    total = float((p**2).sum())
    return float((p * y_S).sum()) / total if total > 0 else math.nan


def _gain(p_S: Floats, y_S: Floats, p_B: float) -> float:
    return _slope(p_S, y_S) * (p_B - float(p_S.mean()))


def _off_the_line(p_S: Floats, y_S: Floats) -> float:
    """Return the residual standard deviation of y regressed on p."""
    if len(p_S) < 3:
        return math.nan
    slope = _slope(p_S, y_S)
    rest = y_S - y_S.mean() - (0.0 if math.isnan(slope) else slope) * (p_S - p_S.mean())
    return float(np.sqrt((rest**2).sum() / (len(rest) - 2)))


def _between_trainings(losses_SH: Floats) -> float:
    """Return the standard deviation over rows of the loss difference between two training runs.

    The mean difference is subtracted first: it belongs to `run_deviation`.
    """
    centred = losses_SH - losses_SH.mean(axis=1, keepdims=True)
    return float(np.sqrt(2 * centred.var(axis=0, ddof=1).mean()))
