"""What cheaper influence costs, and what is lost: picks and the loss after training on them.

Two worlds, both half off target:

- the controlled one (`controlled.py`): 800 rows, a small Llama, hundreds of fine-tuning runs;
- SmolLM2-135M-Instruct on 1,007 rows of reasoning-gym (five target tasks, ten others), through the
  real pipeline, with a store per setting so that nothing is shared.

`cost_share` is processor time of everything before selection (warmup, screen, hidden states,
gradients, attribution) as a share of the exact pipeline's: four epochs of warmup on a quarter of
the pool, all four checkpoints, all rows. `overlap` is the share of its picks at 10% that a setting
picks too. `loss_gap` is the mean test loss after fine-tuning minus that of the exact picks, with a
95% interval: over seeds (Student's t) in the controlled world, over seeds and test rows (paired
bootstrap) on SmolLM2.

    python benchmarks/price.py --quick --json out.json      the controlled world, three seeds
    python benchmarks/price.py --json out.json              both; an hour and a half with bfloat16
                                                            units, longer without
    python benchmarks/price.py --tried --json out.json      the controlled world: ways that were
                                                            tried and rejected

Results are saved as they come; running the same command again continues with the missing ones.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

from controlled_lab import price as controlled
from controlled_lab import tries

if TYPE_CHECKING:
    from typing import Any

QUICK_SEEDS, SEEDS = 3, 10


def table(lines: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    head = [
        "| model | setting | cost | overlap of picks | test loss | minus exact (95%) | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join(head + [_line(line) for line in lines])


def _line(line: dict[str, Any]) -> str:
    loss = "" if line["loss"] is None else f"{line['loss']:.3f}"
    gap = ""
    if line["setting"] != "exact" and line["loss_gap"] is not None:
        low, high = line["loss_gap_low"], line["loss_gap_high"]
        gap = f"{line['loss_gap']:+.3f} ({low:+.3f} to {high:+.3f})"
    cost = line["cost_share"]
    overlap = "" if line["overlap"] is None else f"{line['overlap']:.2f}"
    return (
        f"| {line['model']} | {line['setting']} | {'' if cost != cost else f'{cost:.0%}'} "
        f"| {overlap} | {loss} | {gap} | {line['n_seeds']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="controlled world, three seeds")
    parser.add_argument("--tried", action="store_true",
                        help="controlled world, ways that were tried and rejected")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="of the controlled world")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where results are kept; read first if there")
    parser.add_argument("--work", type=Path, default=Path("price-work"),
                        help="folder for SmolLM2's data and stores")  # fmt: skip
    args = parser.parse_args()
    part, run = ("tried", tries.run) if args.tried else ("controlled", controlled.run)
    kept: dict[str, Any] = {"controlled": [], "tried": [], "smollm2": []}
    if args.json and args.json.exists():
        kept |= json.loads(args.json.read_text())

    def keep() -> None:
        made = [controlled.summarised(kept[name]) for name in ("controlled", "tried")]
        kept["rows"] = [*made[0], *made[1], *kept["smollm2"]]
        if args.json:
            aside = args.json.with_suffix(".part")
            aside.write_text(json.dumps(kept, indent=1))
            aside.replace(args.json)

    n_seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    done = {row["seed"] for row in kept[part]}
    for seed in range(args.first_seed, args.first_seed + n_seeds):
        if seed in done:
            continue
        started = time.perf_counter()
        kept[part] += run(seed)
        keep()
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    if not (args.quick or args.tried):
        from price_smollm2 import measure

        kept["smollm2"] = measure(args.work)
    keep()
    print(table(kept["rows"]))


if __name__ == "__main__":
    main()
