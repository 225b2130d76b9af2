"""Write the docs' tables of choices from the tables in the code: `python docs/write_tables.py`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A test holds that none is stale.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_core.config import RunConfig
from bids_core.evaluation import METRICS
from bids_core.gradients import TRAINING_FEATURES
from bids_core.normalization import NORMALIZATIONS
from bids_core.planning import (
    GPUS,
    PLANNED_SHARE,
    Counts,
    Fleet,
    FleetCost,
    ModelSize,
    bids_paper,
    estimate_counts,
    fleet_cost,
    memory_bytes,
    planned_speed,
)
from bids_core.selection import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

_DOCS = Path(__file__).parent
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WORKS_ON = {"rds": "last-token states", "rds_plus": "weighted mean states"}

_SHOWN_GPUS = ("rtx4090", "a100-80g", "h100")
_POOLS = (10_000, 50_000, 300_000)
_ROW_TOKENS = 500
_MODELS = {  # hidden, layers, MLP, query heads, key heads, head width, vocabulary, tied
    "0.5B (Qwen2.5-0.5B)": (896, 24, 4864, 14, 2, 64, 151_936, True),
    "1.5B (Qwen2.5-1.5B)": (1536, 28, 8960, 12, 2, 128, 151_936, True),
    "3B (Qwen2.5-3B)": (2048, 36, 11_008, 16, 2, 128, 151_936, True),
    "8B (Llama-3-8B)": (4096, 32, 14_336, 32, 8, 128, 128_256, False),
    "14B (Qwen2.5-14B)": (5120, 48, 13_824, 40, 8, 128, 152_064, False),
}


def hardware() -> str:
    """Return what selection takes, for sizes of model and pool and for GPUs: an estimate."""
    rows = []
    for model, shape in _MODELS.items():
        size = _model_size(*shape)
        for gpu in (GPUS[name] for name in _SHOWN_GPUS):
            speed = planned_speed(size, flops=gpu.flops, utilisation=PLANNED_SHARE)
            hours = [_hours(pool, speed) for pool in _POOLS]
            memory = memory_bytes(estimate_counts(_plan(), _counts(_POOLS[0]), speed)) / 1e9
            fits = memory < gpu.gb
            times = [f"{60 * h:.0f} min" if h < 1 else f"{h:.0f} h" for h in hours]
            rows.append(
                [model, gpu.label, f"{memory:.0f} GB", *(times if fits else ["too large"] * 3)]
            )
    return _table(["model", "GPU", "memory", *(f"{n:,} rows" for n in _POOLS)], rows)


def gpus() -> str:
    """Return the GPUs that can be planned for."""
    rows = [[f"`{gpu.name}`", gpu.label, f"{gpu.flops / 1e12:.0f}"] for gpu in GPUS.values()]
    return _table(["`--gpu`", "GPU", "bfloat16, 10^12 a second"], rows)


def _plan() -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"path": "any"},
            "pool": [{"path": "any"}],
            "validation": [{"path": "any", "task": "any", "capability": "any"}],
            "data": {"max_length": 2048},
            "lora": {"r": 64, "alpha": 128, "dropout": 0.05},
            "warmup": {"fraction": 0.05, "epochs": 4, "tokens_per_batch": 2048},
            "finetune": {"enabled": False},
        }
    )


def _counts(pool: int) -> Counts:
    return Counts(pool, pool * _ROW_TOKENS, 300, 300 * _ROW_TOKENS, label_share=0.5)


def _hours(pool: int, speed: Any) -> float:
    return sum(cost.seconds for cost in estimate_counts(_plan(), _counts(pool), speed)) / 3600


def _model_size(
    hidden: int,
    layers: int,
    mlp: int,
    heads: int,
    keys: int,
    width: int,
    words: int,
    tied: bool,
    rank: int | None = None,
) -> ModelSize:
    query, key = heads * width, keys * width
    layer = 2 * hidden * (query + key) + 3 * hidden * mlp
    weights = layers * layer + words * hidden * (1 if tied else 2)
    rank = rank or _plan().lora.r
    return ModelSize(
        n_parameters=weights,
        n_trainable=layers * rank * (2 * (hidden + query) + 2 * (hidden + key)),
        model_bytes=2 * weights,
        hidden_size=hidden,
        n_layers=layers,
        intermediate_size=mlp,
        query_width=query,
        key_width=key,
        vocabulary=words,
        adapter_inputs=layers * int(1.25 * (3 * hidden + query)),  # and dropout's masks
    )


def fleets() -> str:
    """Return what the BIDS paper's setting costs on 1, 8 and 64 GPUs, and with 10M rows."""
    columns = {
        f"{_short(rows)} rows, {gpus} GPU{'s' * (gpus > 1)}{words}": _fleet_cost(rows, gpus, **how)
        for rows, gpus, words, how in _FLEETS
    }
    found = list(columns.values())
    rows = [
        [part.name, *(_time(cost.parts[index].seconds) for cost in found)]
        for index, part in enumerate(found[0].parts)
    ]
    rows += [
        ["**together**", *(f"**{_time(cost.seconds)}**" for cost in found)],
        ["longest", *(cost.largest()[0].name for cost in found)],
        ["then", *(cost.largest()[1].name for cost in found)],
        ["GPU hours", *(f"{cost.gpu_seconds / 3600:,.0f}" for cost in found)],
        ["shards / flow runs", *(f"{c.shards:,} / {c.flow_runs:,}" for c in found)],
        ["gradient store", *(_size(cost.store_bytes) for cost in found)],
        ["matrices", *(_size(cost.matrix_bytes) for cost in found)],
        ["prepared data, in memory", *(_size(cost.prepared_bytes) for cost in found)],
    ]
    return _table(["", *columns], rows)


_FLEETS: Sequence[tuple[int, int, str, dict[str, Any]]] = (
    (288_579, 1, "", {}),
    (288_579, 8, "", {}),
    (288_579, 64, "", {}),
    (10_000_000, 64, "", {}),
    (10_000_000, 64, ", warmup on 5%", {"fraction": 0.05}),
)
_PAPER_TOKENS = 700
"""Of a pool row, as docs/recipes.md assumes it."""


def _fleet_cost(rows: int, gpus: int, *, fraction: float = 1.0) -> FleetCost:
    config = bids_paper(epochs=4)
    changes = {
        "warmup": config.warmup.model_copy(update={"fraction": fraction}),
        "gradients": config.gradients.model_copy(update={"projection": "sjlt"}),
    }
    size = _model_size(*_MODELS["8B (Llama-3-8B)"], rank=config.lora.r)
    speed = planned_speed(size, flops=GPUS["a100-80g"].flops, utilisation=PLANNED_SHARE)
    counts = Counts(rows, rows * _PAPER_TOKENS, 350, 350 * 400)
    return fleet_cost(config.model_copy(update=changes), counts, speed, Fleet(gpus))


def _short(rows: int) -> str:
    return f"{rows / 1e6:.0f}M" if rows >= 1_000_000 else f"{rows // 1000}K"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def methods() -> str:
    """Return the selection methods."""
    rows = []
    for name in METHODS:
        method = METHODS[name]
        if method.code is None:
            uses = [_WORKS_ON.get(method.needs, method.needs), *method.labels]
            uses += ["normalised"] * method.normalized + ["seeded"] * method.seeded
            rows.append([f"`{name}`", method.what, ", ".join(uses), _source(method.doc)])
    return _table(["name", "picks", "works on", "source"], rows)


def normalizations() -> str:
    """Return the normalisations."""
    rows = [[f"`{n}`", e.center, e.scale, e.advice] for n, e in NORMALIZATIONS.items()]
    return _table(["name", "center", "scale", "use it when"], rows)


def features() -> str:
    """Return the training features."""
    rows = [
        [
            f"`{name}`",
            feature.what,
            f"`{feature.validation or name}`",
            ", ".join(f"`gradients.{option}`" for option in feature.options),
            f"{feature.passes:.2g}" + (" and a fit" if feature.curvature else ""),
        ]
        for name, feature in TRAINING_FEATURES.items()
    ]
    return _table(["name", "feature", "for validation", "reads", "passes a row"], rows)


def metrics() -> str:
    """Return the metrics of test tasks."""
    rows = [[f"`{name}`", metric.what, metric.needs] for name, metric in METRICS.items()]
    return _table(["metric", "what counts", "needs"], rows)


TABLES = {
    "hardware": hardware,
    "fleets": fleets,
    "gpus": gpus,
    "methods": methods,
    "normalizations": normalizations,
    "features": features,
    "metrics": metrics,
}


def written(text: str) -> str:
    """Return a page with its tables as they are now."""
    return _PLACE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def _source(doc: str) -> str:
    found = re.search(r"Source:\s+(.*)", doc, re.DOTALL)
    return " ".join(found[1].split()).rstrip(".") if found else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    for page in sorted(_DOCS.glob("*.md")):
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
