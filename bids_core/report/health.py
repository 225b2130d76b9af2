"""The numbers of the section on warmup and gradients: can the influence be trusted?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.formatting import number, percent
from bids_core.gradients import TRAINING_FEATURES
from bids_core.progress import duration
from bids_core.report.figure_lines import step_lines
from bids_core.report.section import Section
from bids_core.report.svg import responsive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.report.inputs import ReportInputs


def warmup_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the warmup section shows, or None if no warmup ran."""
    warmup = inputs.warmup
    if warmup is None or not warmup.get("losses"):
        return None
    losses, epochs = list(warmup["losses"]), list(warmup["epochs"])
    checkpoints = _checkpoints(warmup, losses, epochs)
    return {
        "rows": warmup.get("n_rows"),
        "coverage": (warmup.get("coverage") or {}).get("words"),
        "elsewhere": len(warmup.get("elsewhere") or ()),
        "pool": len(inputs.row_ids),
        "steps": len(losses),
        "tokens": int(warmup.get("tokens", 0)),
        "figure": responsive(
            lambda width: step_lines(
                losses,
                list(warmup["learning_rates"]),
                epochs,
                label="Loss and learning rate of each optimizer step of the warmup",
                width=width,
            )
        ),
        "checkpoints": checkpoints,
        "fell": checkpoints[-1]["mean"] < checkpoints[0]["mean"] if len(checkpoints) > 1 else None,
    }


def _checkpoints(
    warmup: Mapping[str, Any], losses: Sequence[float], epochs: Sequence[int]
) -> list[dict[str, Any]]:
    values, of_epoch = np.asarray(losses), np.asarray(epochs)
    return [
        {
            "number": place,
            "steps": int((of_epoch == epoch).sum()),
            "mean": float(values[of_epoch == epoch].mean()),
            "loss": number(float(values[of_epoch == epoch].mean())),
            "weight": {"share": float(weight), "value": percent(float(weight))},
        }
        for place, (epoch, weight) in enumerate(
            zip(np.unique(of_epoch), warmup["checkpoint_weights"], strict=True), start=1
        )
    ]


def gradients_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return one line per checkpoint and split, or None if no gradients were computed."""
    if not inputs.gradients:
        return None
    shards: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for shard in inputs.gradients:
        shards.setdefault((int(shard["checkpoint"]), str(shard["split"])), []).append(shard)
    settings = inputs.config.get("gradients", {})
    feature = TRAINING_FEATURES.get(str(settings.get("train_feature")))
    options = () if feature is None else feature.options
    lines = [_line(key, group) for key, group in sorted(shards.items())]
    shares = [line["eps"] for line in lines if line["eps"] is not None]
    return {
        "lines": lines,
        "screen": None if inputs.screen is None else inputs.screen["words"],
        "mode": settings.get("adam_mode") if "adam_mode" in options else None,
        "epsilon": inputs.config.get("warmup", {}).get("eps"),
        "feature": settings.get("train_feature"),
        "projection": settings.get("projection"),
        "dim": settings.get("dim"),
        "has_norms": any(line["norms"] for line in lines),
        "eps": percent(float(np.mean(shares))) if shares else None,
        "eps_is_high": bool(shares) and float(np.mean(shares)) > 0.5,
    }


def _line(key: tuple[int, str], shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = sum(int(shard["rows"]) for shard in shards)
    computed = rows - sum(int(shard.get("known_rows") or 0) for shard in shards)
    seconds = sum(float(shard.get("compute_seconds") or 0.0) for shard in shards)
    return {
        "checkpoint": key[0],
        "split": key[1],
        "rows": rows,
        "loss": number(_mean(shards, "mean_loss", rows)),
        "eps": _eps_share(shards, rows),
        "eps_text": _percent_or_dash(_eps_share(shards, rows)),
        "speed": number(computed / seconds, 1) if seconds > 0 else number(float("nan")),
        "time": duration(seconds),
        "nonfinite": sum(len(shard.get("nonfinite_row_ids") or ()) for shard in shards),
        "norms": _norms(shards),
    }


def _mean(shards: Sequence[Mapping[str, Any]], name: str, rows: int) -> float:
    total = sum(float(shard[name]) * int(shard["rows"]) for shard in shards if name in shard)
    return total / rows if rows else float("nan")


def _eps_share(shards: Sequence[Mapping[str, Any]], rows: int) -> float | None:
    if any(shard.get("eps_dominated_share") is None for shard in shards):
        return None
    return _mean(shards, "eps_dominated_share", rows)


def _percent_or_dash(value: float | None) -> str:
    return percent(float("nan") if value is None else value)


def _norms(shards: Sequence[Mapping[str, Any]]) -> str:
    """Return the range of all shards' quantiles, as text (quantiles cannot be merged)."""
    found = [shard["norm_quantiles"] for shard in shards if shard.get("norm_quantiles")]
    values = [float(value) for quantiles in found for value in quantiles.values()]
    return f"{min(values):.3g} to {max(values):.3g}" if values else ""


def health_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the section on warmup and gradients shows, or None if there was neither."""
    parts = {"warmup": warmup_section(inputs), "gradients": gradients_section(inputs)}
    return parts if any(parts.values()) else None


SECTION: Final = Section("health", "Warmup and gradients", 60, health_section)
