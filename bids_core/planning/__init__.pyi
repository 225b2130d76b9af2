from .cheaper import candidates
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
from .frontier import Fidelity, Yardstick
from .hardware import GPUS, PLANNED_SHARE, Gpu, Machine, Price, price
from .plot_plan import plot_plan
from .recipes import COSTS, RECIPES, bids_paper, cpu, less_paper, qlora_24gb
from .settings import Setting

__all__ = [
    "COSTS",
    "GPUS",
    "PLANNED_SHARE",
    "RECIPES",
    "Counts",
    "Fidelity",
    "Fleet",
    "FleetCost",
    "Gpu",
    "Machine",
    "ModelSize",
    "Price",
    "Setting",
    "Speed",
    "StageCost",
    "Yardstick",
    "bids_paper",
    "candidates",
    "cpu",
    "estimate",
    "estimate_counts",
    "fleet_cost",
    "less_paper",
    "measure_speed",
    "memory_bytes",
    "planned_speed",
    "plot_plan",
    "price",
    "qlora_24gb",
]
