"""All GPU measurements in one command: correctness, speed, and what happens when memory is full.

    python benchmarks/gpu.py --json gpu.json             # tens of minutes on one large GPU
    python benchmarks/gpu.py --quick --json gpu.json     # minutes
    python benchmarks/gpu.py --tiny                      # a minute of a CPU; no figures

For a bare machine: it needs Python with torch, transformers and accelerate, this checkout's
`bids_core/` and `benchmarks/`, and the wheels in `gpu_wheels.txt` (57 MB; that file says how to
copy them). Nothing is downloaded. Parts (`--only` picks some):

parity       the engine's gradients against batches of one, in float32, bfloat16 and 4 bits; Adam
             features from the stored moments of an AdamW that ran on the device, against float64
speed        features per second at 512 to 4,096 tokens, Llamas with 1B and 8B random weights,
             adapters of rank 128: ours (also with float32 products in TF32), the plain batched pass
             (ratio 1.00), bergson if it is installed. Batches are halved until all contenders fit;
             if not even one row fits, activations are checkpointed
kernels      the projections sjlt and srht alone, on pieces as they come from the backward pass
halving      a batch that does not fit is halved: forced, and compared with undisturbed features
attribution  the [N, M] matrix from a gradient store, and its products on the device

Without a GPU, `--tiny` is the default. Each part's rows are written to the JSON as soon as they are
available.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_lab.device import Device
from gpu_lab.halving import halving
from gpu_lab.kernels import kernels
from gpu_lab.parity import parity
from gpu_lab.products import products
from gpu_lab.speed import Sizes, speed
from gpu_lab.table import show

PARTS = ("parity", "speed", "kernels", "halving", "attribution")
PACKAGES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "bergson")


@dataclass(frozen=True)
class Plan:
    """How much of each part is measured."""

    sizes: Sizes
    parity_model: str
    parity_rows: int
    halving_model: str
    halving_rows: int
    halving_tokens: int
    matrix_rows: int
    columns: int
    kernel_batch: int


FULL = Plan(
    Sizes(("1b", "8b"), (512, 1024, 2048, 4096), budget=8192, batches=4, rounds=3, dim=8192),
    "small", 16, "1b", 16, 512, 36_000, 350, 8,
)  # fmt: skip
QUICK = Plan(
    Sizes(("1b", "8b"), (512, 2048), budget=8192, batches=4, rounds=2, dim=8192),
    "small", 8, "1b", 16, 512, 8_000, 350, 8,
)  # fmt: skip
TINY = Plan(
    Sizes(("tiny",), (32, 64), budget=128, batches=1, rounds=1, dim=256),
    "tiny", 4, "tiny", 4, 32, 300, 20, 2,
)  # fmt: skip


def measure(device: Device, plan: Plan, part: str) -> list[dict[str, Any]]:
    """Return the rows of one part."""
    sizes = plan.sizes
    if part == "parity":
        return parity(device, size=plan.parity_model, rows=plan.parity_rows)
    if part == "speed":
        return list(speed(device, sizes))
    if part == "kernels":
        return kernels(device, models=sizes.models, batch=plan.kernel_batch, dim=sizes.dim,
                       rounds=sizes.rounds)  # fmt: skip
    if part == "halving":
        return [halving(device, size=plan.halving_model, rows=plan.halving_rows,
                        length=plan.halving_tokens, dim=sizes.dim)]  # fmt: skip
    return products(device, rows=plan.matrix_rows, columns=plan.columns, dim=sizes.dim,
                    rounds=sizes.rounds)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the relevant packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # packages that are not installed are not compared, and the tables say so
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer lengths, one round")
    parser.add_argument("--tiny", action="store_true", help="toy sizes; the default without a GPU")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--models", nargs="+", choices=["small", "1b", "8b"], help="of speed")
    parser.add_argument("--lengths", nargs="+", type=int, help="of speed, in tokens")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = Device.here(args.device)
    tiny = args.tiny or device.device.type != "cuda"
    plan = TINY if tiny else QUICK if args.quick else FULL
    changed = {"models": args.models, "lengths": args.lengths}
    sizes = replace(plan.sizes, **{k: tuple(v) for k, v in changed.items() if v})
    plan = replace(plan, sizes=sizes)
    facts = {name: getattr(device, name) for name in ("name", "flops", "peak_from", "memory")}
    result: dict[str, Any] = {
        "device": facts | {"dtype": str(device.dtype)}, "versions": versions(), "tiny": tiny,
        "parts": {},
    }  # fmt: skip
    for part in args.only:
        print(f"{part} ...", file=sys.stderr, flush=True)
        result["parts"][part] = measure(device, plan, part)
        if args.json:
            args.json.write_text(json.dumps(result, indent=1))
    show(result)
    if tiny:
        print("\nToy sizes: this shows that the program runs, and no speed of anything.")
    rows = [row for part in result["parts"].values() for row in part]
    if not all(row.get("ok", True) for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
