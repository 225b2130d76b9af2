from .cost import (
    Counts,
    Speed,
    StageCost,
    estimate,
    estimate_counts,
    measure_speed,
    memory_bytes,
    planned_speed,
)
from .footprint import ModelSize
from .recipes import RECIPES, bids_paper, cpu, less_paper, qlora_24gb

__all__ = [
    "RECIPES",
    "Counts",
    "ModelSize",
    "Speed",
    "StageCost",
    "bids_paper",
    "cpu",
    "estimate",
    "estimate_counts",
    "less_paper",
    "measure_speed",
    "memory_bytes",
    "planned_speed",
    "qlora_24gb",
]
