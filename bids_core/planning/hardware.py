"""Hardware by name, and what selection costs on it.

A planned time is an estimate: the operations implied by the model's sizes, at an assumed share of
the data sheet's peak. `bids check` measures; this is for hardware that is not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.errors import ConfigError
from bids_core.planning.cost import Counts, Speed, estimate_counts, memory_bytes, planned_speed
from bids_core.registry import Entry, Registry

if TYPE_CHECKING:
    from bids_core.config import RunConfig
    from bids_core.planning.footprint import ModelSize

PLANNED_SHARE: Final = 0.35
"""Share of a GPU's peak that a run is assumed to reach."""
_SPREAD: Final = "gradients"
"""The stage whose shards several GPUs share; everything else runs on one of them."""


@dataclass(frozen=True, kw_only=True)
class Gpu(Entry):
    """A GPU.

    Args:
        flops: peak dense bfloat16 operations per second, from NVIDIA's data sheet.
        gb: its memory, in 10^9 bytes.
    """

    flops: float
    gb: float


GPUS: Final = Registry(
    "GPU",
    (
        Gpu(name="rtx3090", label="RTX 3090, 24 GB", flops=71e12, gb=24),
        Gpu(name="rtx4090", label="RTX 4090, 24 GB", flops=165e12, gb=24),
        Gpu(name="a10", label="A10, 24 GB", flops=125e12, gb=24),
        Gpu(name="l4", label="L4, 24 GB", flops=121e12, gb=24),
        Gpu(name="l40s", label="L40S, 48 GB", flops=362e12, gb=48),
        Gpu(name="a100-40g", label="A100, 40 GB", flops=312e12, gb=40),
        Gpu(name="a100-80g", label="A100, 80 GB", flops=312e12, gb=80),
        Gpu(name="h100", label="H100, 80 GB", flops=989e12, gb=80),
        Gpu(name="h200", label="H200, 141 GB", flops=989e12, gb=141),
    ),
)
"""GPUs, by the names that users type."""


@dataclass(frozen=True)
class Machine:
    """The hardware a run is planned for.

    Args:
        label: in words.
        speed: of one device, measured or planned.
        gpus: how many devices share the gradients.
        gb: memory of a device, in 10^9 bytes; None if unknown.
    """

    label: str
    speed: Speed
    gpus: int = 1
    gb: float | None = None

    @classmethod
    def planned(cls, name: str, size: ModelSize, *, gpus: int = 1) -> Machine:
        """Return a machine with GPUs of the given name.

        Args:
            name: one of `GPUS`.
            size: of the model.
            gpus: how many.

        Raises:
            ConfigError: there is no GPU of that name.
        """
        gpu = gpu_of(name)
        speed = planned_speed(size, flops=gpu.flops, utilisation=PLANNED_SHARE)
        label = gpu.label if gpus == 1 else f"{gpus} x {gpu.label}"
        return cls(f"{label}, planned", speed, gpus, gpu.gb)


def gpu_of(name: str) -> Gpu:
    """Return the GPU of the given name.

    Raises:
        ConfigError: there is none.
    """
    if name not in GPUS:
        msg = f"--gpu {name}: {GPUS.unknown(name)}"
        raise ConfigError(msg)
    return GPUS[name]


@dataclass(frozen=True)
class Price:
    """What the picks cost: everything before fine-tuning.

    Args:
        work: seconds on one device, all stages together.
        seconds: wall time, with the devices sharing the gradients.
        memory_bytes: of the largest stage, on one device.
        disk_bytes: in the store.
        stages: work of each stage, in seconds.
    """

    work: float
    seconds: float
    memory_bytes: int
    disk_bytes: int
    stages: Mapping[str, float]


def price(config: RunConfig, counts: Counts, machine: Machine) -> Price:
    """Return what a configuration's picks cost on a machine, according to the cost model.

    The warmup runs in `execution.processes` processes, one GPU each, or fewer if GPUs are short.

    Args:
        config: the run; only its main method counts, not those it is compared with.
        counts: of the whole pool.
        machine: where it runs.
    """
    alone = config.model_copy(
        update={
            "selection": config.selection.model_copy(update={"compare": ()}),
            "finetune": config.finetune.model_copy(update={"enabled": False}),
        }
    )
    costs = estimate_counts(alone, counts, machine.speed)
    devices = {_SPREAD: machine.gpus, "warmup": min(machine.gpus, config.execution.processes)}
    return Price(
        work=sum(cost.seconds for cost in costs),
        seconds=sum(cost.seconds / devices.get(cost.stage, 1) for cost in costs),
        memory_bytes=memory_bytes(costs),
        disk_bytes=sum(cost.disk_bytes for cost in costs),
        stages={cost.stage: cost.seconds for cost in costs},
    )
