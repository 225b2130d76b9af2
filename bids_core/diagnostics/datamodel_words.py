"""The meaning of the linear datamodelling score, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.diagnostics.trust import shown
from bids_core.formatting import number, percent

if TYPE_CHECKING:
    from bids_core.diagnostics.datamodel import Datamodel

LEAST_SUBSETS: Final = 20
"""With fewer subsets nothing is concluded: one rank correlation has a standard error above 0.23."""
_FAR: Final = 2.0
"""Distance, in standard deviations, beyond which the estimate is called an extrapolation."""


def datamodel_words(found: Datamodel, *, held_out: str, method: str) -> list[str]:
    """Return the findings as sentences; the first one is the verdict.

    Args:
        found: the scores.
        held_out: what to call the rows: `validation instances` or `test rows`.
        method: label of the method whose gain is estimated.
    """
    if found.n_subsets < LEAST_SUBSETS:
        return [
            f"{found.n_subsets} subsets are too few for a conclusion; train on at least "
            f"{LEAST_SUBSETS} (--subsets)."
        ]
    return [_verdict(found, held_out), _recall(found), *_gain(found, method)]


def _verdict(found: Datamodel, held_out: str) -> str:
    basis = f"{found.n_subsets} random subsets, {found.n_rows} {held_out}"
    score = f"linear datamodelling score {shown(found.lds)}; {basis}"
    if found.lds.high < 0:
        return f"Summed influence ranks real training runs in the wrong order: {score}."
    if not found.lds.positive:
        return (
            "These training runs do not show that summed influence predicts which subset "
            f"is better: {score}."
        )
    share = percent(found.lds.value**2, 0)
    return (
        f"Summed influence explains about {share} of how random subsets rank on the {held_out} "
        f"(the square of the mean rank correlation): {score}."
    )


def _recall(found: Datamodel) -> str:
    chance = number(found.k / found.n_subsets, 2)
    return (
        f"The share of the {found.k} best subsets for a row that are among the {found.k} "
        f"predicted best is {shown(found.recall)} (chance: {chance})."
    )


def _gain(found: Datamodel, method: str) -> list[str]:
    digits = 3 if abs(found.gain.value) >= 0.01 else 5
    gain = f"{shown(found.gain, digits)} nats"
    if not found.gain.positive:
        return [
            f"This does not show whether {method} beats random rows: the expected gain in "
            f"mean answer loss is {gain}."
        ]
    needed = found.needed
    said = [f"Expect {method} to beat random rows by about {gain} in mean answer loss."]
    if needed is not None:
        seeds, rows = needed
        said.append(
            f"A comparison (`bids compare`) of {rows:,} test rows and {seeds} seeds would "
            "detect it four times out of five."
        )
    if abs(found.distance) > _FAR:
        said.append(
            f"That is an extrapolation: the picks lie {number(found.distance, 1)} standard "
            "deviations from random subsets, and influence saturates."
        )
    return said
