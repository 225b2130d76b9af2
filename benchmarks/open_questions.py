"""Questions that the papers leave open, examined where the truth is known.

On the model, tasks and pools of `controlled.py`:

- `adding_up`: is the influence of a set the sum of its rows'? Adapters are trained on random
  subsets, and on subsets tilted towards rows with high influence; the reduction in mean test loss
  is compared with the summed influence.
- `transfer`: do picks serve a model other than the one that chose them? A small model's picks are
  used to fine-tune it, another of the same shape, and a larger one.
- `imbalance`: do scores other than influence favour some tasks? The picks of instance-max by
  influence, by hidden states (RDS+) and by BM25.

    python benchmarks/open_questions.py adding_up --first-seed 20 --seeds 10 --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

from controlled_lab import adding_up, imbalance, transfer

if TYPE_CHECKING:
    from typing import Any

QUESTIONS = {
    "adding_up": (adding_up.run, adding_up.table),
    "transfer": (transfer.run, transfer.table),
    "imbalance": (imbalance.run, imbalance.table),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("question", choices=list(QUESTIONS))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where results are kept; read first if there")
    args = parser.parse_args()
    run, table = QUESTIONS[args.question]
    rows: list[dict[str, Any]] = []
    if args.json and args.json.exists():
        rows = json.loads(args.json.read_text())
    done = {row["seed"] for row in rows}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        if seed in done:
            continue
        started = time.perf_counter()
        rows += run(seed)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        if args.json:
            aside = args.json.with_suffix(".part")
            aside.write_text(json.dumps(rows))
            aside.replace(args.json)
    print(table(rows))


if __name__ == "__main__":
    main()
