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
from .fleet import Fleet, FleetCost, fleet_cost
from .footprint import ModelSize
from .recipes import COSTS, RECIPES, bids_paper, cpu, less_paper, qlora_24gb

__all__ = [
    "COSTS",
    "RECIPES",
    "Counts",
    "Fleet",
    "FleetCost",
    "ModelSize",
    "Speed",
    "StageCost",
    "bids_paper",
    "cpu",
    "estimate",
    "estimate_counts",
    "fleet_cost",
    "less_paper",
    "measure_speed",
    "memory_bytes",
    "planned_speed",
    "qlora_24gb",
]
