"""The cheaper settings worth trying, made from a configuration: one table.

They come from experiments (docs/results/price.md): one checkpoint carries nearly all the
information, a BM25 screen costs almost nothing, and both together cost least.

Shapes: N rows of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bids_core.config.screen import LANDMARKS
from bids_core.gradients import TRAINING_FEATURES
from bids_core.planning.settings import EXACT, LEAST_LANDMARKS, Setting

if TYPE_CHECKING:
    from bids_core.config import RunConfig

_FIRST: Final = "gradients only at the first checkpoint"
_MOST_LANDMARKS: Final = 8000
"""Most landmarks. Each pair is compared: 8,000 take 0.5 GB, 30,000 would take 7."""

_DRAWN: Final = 20
"""In a small pool, one row in this many is drawn at random beside a screen: more would save
nothing."""


def candidates(
    exact: RunConfig, *, n_checkpoints: int, n_layers: int, pool_rows: int
) -> list[Setting]:
    """Return the settings worth trying, the exact one first.

    Args:
        exact: the configuration without shortcuts.
        n_checkpoints: checkpoints that its warmup saves.
        n_layers: decoder layers of the model; 0 if it has none.
        pool_rows: N.
    """
    found = [Setting(EXACT, "gradients of all rows, at all checkpoints, in all layers", {}, EXACT)]
    found += _checkpoints(exact, n_checkpoints)
    takes_gradients = not TRAINING_FEATURES[exact.gradients.train_feature].hidden_states
    layers = [one for one in (n_layers // 2, n_layers // 4) if one and takes_gradients]
    found += [_layers(last, n_layers) for last in dict.fromkeys(layers)]
    drawn = _drawn(exact, pool_rows)
    found += [_screen(by, keep, drawn) for by in ("bm25", "rds_plus") for keep in (0.5, 0.3, 0.2)]
    found += _landmarks(exact, pool_rows)
    if n_checkpoints > 1:
        seconds = [_layers(last, n_layers) for last in layers[:1]]
        seconds += [_screen("bm25", keep, drawn) for keep in (0.65, 0.4, 0.2)]
        found += [_first_and(exact, second) for second in seconds]
    return found


def _checkpoints(exact: RunConfig, there: int) -> list[Setting]:
    """Return the settings with fewer checkpoints: the first half, the last, the first."""
    if there < 2:
        return []
    family, last = "checkpoints", {"gradients.checkpoints": [there]}
    found = [
        Setting("last checkpoint", "gradients only at the last checkpoint", last, family),
        Setting("first checkpoint", _FIRST, _first(exact, 1), family),
    ]
    if there > 3:
        half = there // 2
        words = f"gradients only at the first {half} checkpoints"
        found.insert(0, Setting(f"first {half} checkpoints", words, _first(exact, half), family))
    return found


def _first(exact: RunConfig, epochs: int) -> dict[str, Any]:
    """Return the changes that stop a warmup early; one trained elsewhere is used in part."""
    if exact.warmup.checkpoints:
        return {"gradients.checkpoints": list(range(1, epochs + 1))}
    return {"warmup.stop_after": epochs}


def _first_and(exact: RunConfig, other: Setting) -> Setting:
    return Setting(
        f"first checkpoint, {other.name}",
        f"{_FIRST}; there {other.words}",
        {**_first(exact, 1), **other.changes},
        f"first checkpoint, {other.family}",
    )


def _layers(last: int, n_layers: int) -> Setting:
    name = f"last {last} layers" if last > 1 else "last layer"
    words = f"gradients only in the last {last} of {n_layers} layers"
    return Setting(name, words, {"gradients.layers": last}, "layers")


def _screen(by: str, keep: float, drawn: Mapping[str, int]) -> Setting:
    words = f"gradients of the {keep:.0%} that {by} picks"
    changes = {"screen.by": by, "screen.keep": keep, **drawn}
    return Setting(f"{by} {keep:.0%}", words, changes, by)


def _drawn(exact: RunConfig, pool_rows: int) -> dict[str, int]:
    """Return the change that draws fewer random rows beside a screen, where the pool is small."""
    few = max(LEAST_LANDMARKS, pool_rows // _DRAWN)
    return {} if few >= exact.screen.sample else {"screen.sample": few}


def _landmarks(exact: RunConfig, pool_rows: int) -> list[Setting]:
    if exact.gradients.metric == "dot":
        return []  # landmarks infer cosines
    found: list[Setting] = []
    for share in (0.1, 0.2):
        rows = max(LEAST_LANDMARKS, min(_MOST_LANDMARKS, round(share * pool_rows)))
        name, changes = f"landmarks {rows:,}", {"landmarks.rows": rows}
        if rows >= pool_rows or any(setting.name == name for setting in found):
            continue
        words = f"gradients of {rows:,} random rows, the influence of the others inferred"
        found += [
            Setting(name, words, changes, LANDMARKS),
            Setting(
                f"{name}, keep 30%",
                f"gradients of {rows:,} random rows, then of the 30% with the best inferred "
                "influence",
                changes | {"screen.by": LANDMARKS, "screen.keep": 0.3},
                LANDMARKS,
            ),
        ]
    return found
