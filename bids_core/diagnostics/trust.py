"""Can influence be trusted? Compares predicted with measured changes of the validation losses.

For every validation instance, the sampled rows are ranked by the measured effect of a step on the
instance's loss and by the predicted effect; Spearman's correlation of the two rankings is averaged
over instances. Each further approximation lowers this mean, and the difference, on the same draws,
is the cost of that approximation.

Shapes: n sampled rows, M validation instances, R bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.rank_correlation import (
    DRAWS,
    Estimate,
    mean_known,
    resampled_spearman,
    spearman,
)
from bids_core.errors import MatrixError
from bids_core.formatting import number
from bids_core.selection.request import checked_names, groups_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float64]

LEAST_ROWS: Final = 20
"""With fewer rows nothing is concluded: the standard error of one rank correlation is then above
0.22 (1 / sqrt(n - 1)), and that of the mean is not much smaller, because instances share their
rows."""
RESOLUTION: Final = 10.0
"""A loss change counts as measurable if its spread over rows is at least this many float32
steps."""
STEPS: Final = {
    "first_order": "the step's own first order",
    "feature": "the form of the feature",
    "cosine": "the cosine instead of the inner product",
    "layers": "the last layers alone",
    "projected": "the random projection",
    "stored": "the stored precision",
    "run": "the model's dtype in the run",
    "all_checkpoints": "the other checkpoints in the weighted sum",
}
"""Predictions in order of increasing approximation, and what each one adds."""


@dataclass(frozen=True)
class Trust:
    """How well predictions rank the measured changes of the validation losses.

    Args:
        n_rows: number of sampled rows, n.
        n_instances: number of validation instances whose change could be measured and ranked, M.
        n_unresolved: number of instances left out because their change is lost in float32 rounding.
        correlations: mean rank correlation over instances, by prediction.
        costs: by prediction, how much lower this is than for the prediction before.
        tasks: mean rank correlation of the run's own influence, by task.
        slope: measured change over the first-order prediction; 1 if the loss is linear over a step,
            NaN if there is nothing to compare.
        instances: rank correlation of the run's own influence, by validation id.
    """

    n_rows: int
    n_instances: int
    n_unresolved: int
    correlations: Mapping[str, Estimate]
    costs: Mapping[str, Estimate]
    tasks: Mapping[str, Estimate]
    slope: float
    instances: Mapping[str, float]

    @property
    def main(self) -> Estimate:
        """The mean rank correlation of the run's influence at this checkpoint."""
        return self.correlations["run"]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "n_rows": self.n_rows,
            "n_instances": self.n_instances,
            "n_unresolved": self.n_unresolved,
            "correlations": {name: e.to_dict() for name, e in self.correlations.items()},
            "costs": {name: e.to_dict() for name, e in self.costs.items()},
            "tasks": {name: e.to_dict() for name, e in self.tasks.items()},
            "slope": None if self.slope != self.slope else self.slope,
            "instances": {k: None if v != v else v for k, v in self.instances.items()},
            "words": trust_words(self),
        }


def assess(
    measured_nM: npt.ArrayLike,
    predictions: Mapping[str, npt.ArrayLike],
    *,
    losses_M: npt.ArrayLike,
    tasks: Sequence[str],
    validation_ids: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> Trust:
    """Compare predictions with the measured decrease of the validation losses.

    Args:
        measured_nM: [n, M] decrease of each loss in nats (`measure_steps`).
        predictions: predictions by name, [n, M] each; must include `run` (the run's influence), the
            others are from `STEPS`.
        losses_M: [M] losses before the step; they determine the resolution of float32.
        tasks: M task names.
        validation_ids: M names.
        draws: R bootstrap draws over rows.
        seed: of the draws.

    Raises:
        MatrixError: the shapes do not match, or no instance's change could be measured.
    """
    measured = np.asarray(measured_nM, dtype=np.float64)
    given = {n: np.asarray(predictions[n], dtype=np.float64) for n in STEPS if n in predictions}
    _require_fit(measured, given)
    names = np.array(checked_names(tasks, measured.shape[1], "tasks", "validation instances"))
    resolved = _resolved(measured, np.asarray(losses_M, dtype=np.float64))
    if not resolved.any():
        msg = (
            "the steps are too small to change any validation loss measurably; raise their "
            "learning rate (--learning-rate)"
        )
        raise MatrixError(msg)
    kept = {name: values[:, resolved] for name, values in given.items()}
    rho = {name: spearman(values, measured[:, resolved]) for name, values in kept.items()}
    drawn = resampled_spearman(kept, measured[:, resolved], draws=draws, seed=seed)
    means = {name: mean_known(drawn[name]) for name in kept}
    ids = np.array(validation_ids)[resolved].tolist()
    return Trust(
        n_rows=len(measured),
        n_instances=int(resolved.sum()),
        n_unresolved=int((~resolved).sum()),
        correlations={n: Estimate.of(_mean(rho[n]), means[n]) for n in kept},
        costs=_costs(rho, means),
        tasks=_by_task(names[resolved].tolist(), rho["run"], drawn["run"]),
        slope=_slope(measured[:, resolved], kept.get("first_order")),
        instances=dict(zip(ids, rho["run"].tolist(), strict=True)),
    )


def _require_fit(measured: Floats, given: Mapping[str, Floats]) -> None:
    if "run" not in given:
        msg = "the run's own influence (`run`) is not among the predictions"
        raise MatrixError(msg)
    for name, values in given.items():
        if values.shape != measured.shape:
            msg = f"prediction {name} is {values.shape}, the measurement {measured.shape}"
            raise MatrixError(msg)
        if not np.isfinite(values).all():
            msg = f"prediction {name} has an entry that is NaN or infinite"
            raise MatrixError(msg)
    if not np.isfinite(measured).all():
        msg = "a measured change is NaN or infinite"
        raise MatrixError(msg)


def _resolved(measured_nM: Floats, losses_M: Floats) -> npt.NDArray[np.bool_]:
    """Return whether the spread over rows exceeds float32 resolution, [M]."""
    grain = np.spacing(np.abs(losses_M).astype(np.float32)).astype(np.float64)
    return np.asarray(measured_nM.std(axis=0) > RESOLUTION * grain)


def _costs(rho: Mapping[str, Floats], means: Mapping[str, Floats]) -> dict[str, Estimate]:
    """Return what each prediction loses relative to the one before it."""
    order = list(rho)
    return {
        later: Estimate.of(_mean(rho[earlier]) - _mean(rho[later]), means[earlier] - means[later])
        for earlier, later in pairwise(order)
    }


def _by_task(tasks: list[str], rho_M: Floats, drawn_RM: Floats) -> dict[str, Estimate]:
    order = dict.fromkeys(tasks)
    return {
        name: Estimate.of(_mean(rho_M[columns]), mean_known(drawn_RM[:, columns]))
        for name, columns in zip(order, groups_of(tasks), strict=True)
    }


def _mean(values: Floats) -> float:
    return float(mean_known(values))


def _slope(measured: Floats, predicted: Floats | None) -> float:
    """Return the slope through zero of measured on predicted, over all pairs."""
    if predicted is None or not (predicted**2).sum() > 0:
        return float("nan")
    return float((measured * predicted).sum() / (predicted**2).sum())


def trust_words(trust: Trust) -> list[str]:
    """Return the meaning as sentences; the first one is the verdict."""
    said = [_verdict(trust)]
    if trust.n_rows < LEAST_ROWS:
        return said
    said += [_tasks(trust), _where_lost(trust)]
    if abs(trust.slope - 1) > 0.2:
        said.append(
            f"The measured changes are {number(trust.slope, 2)} times what the step's first "
            "order says: the loss is not linear over a step of this size."
        )
    if trust.n_unresolved:
        said.append(
            f"{trust.n_unresolved} validation instances are left out, because the change in "
            "their loss is lost in rounding; a larger --learning-rate includes more of them."
        )
    return [sentence for sentence in said if sentence]


def shown(estimate: Estimate, digits: int = 2) -> str:
    """Format an estimate with its interval."""
    value, low, high = (number(v, digits) for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} (95% interval {low} to {high})"


def _verdict(trust: Trust) -> str:
    main = trust.main
    if trust.n_rows < LEAST_ROWS:
        return (
            f"{trust.n_rows} rows are too few for a conclusion about influence; measure at "
            f"least {LEAST_ROWS} (--rows)."
        )
    basis = f"{trust.n_rows} rows, {trust.n_instances} validation instances"
    if main.high < 0:
        return (
            "Influence ranks rows in the wrong order on this data: rank correlation "
            f"{shown(main)}; {basis}."
        )
    if not main.positive:
        return (
            "These steps do not show that influence predicts anything on this data: rank "
            f"correlation {shown(main)}; {basis}. More rows (--rows) would narrow the "
            "interval."
        )
    if main.low >= 0.5:
        word = "strongly"
    elif main.value >= 0.3:
        word = "moderately"
    else:
        word = "weakly, though more than by chance,"
    return (
        f"Influence predicts {word} the effect of a single step on a row on the validation "
        f"losses: rank correlation {shown(main)}; {basis}."
    )


def _tasks(trust: Trust) -> str:
    if len(trust.tasks) < 2:
        return ""
    ordered = sorted(trust.tasks.items(), key=lambda item: -item[1].value)
    best, worst = ordered[0], ordered[-1]
    text = (
        f"It does best on {best[0]}, {shown(best[1])}, and worst on {worst[0]}, {shown(worst[1])}."
    )
    none = [name for name, estimate in ordered if not estimate.positive]
    if none:
        text += f" No predictive power shown for: {', '.join(none)}."
    return text


def _where_lost(trust: Trust) -> str:
    """Name the approximations with a significant cost, largest first."""
    first = trust.correlations.get("first_order")
    if first is None:
        return ""
    costly = [(n, e) for n, e in trust.costs.items() if e.positive and e.value >= 0.005]
    costly.sort(key=lambda item: -item[1].value)
    start = f"With no approximation except the first order it would be {shown(first)}"
    if not costly:
        return f"{start}; none of the further approximations has a measurable cost."
    listed = "; ".join(f"{STEPS[name]} costs {shown(e)}" for name, e in costly)
    return f"{start}; {listed}."
