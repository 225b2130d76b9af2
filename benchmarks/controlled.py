"""Does selection pay? A controlled benchmark in which the truth about every row is known.

A small Llama is pretrained on the spot on twelve sequence tasks. Six of them are the target tasks;
a pool contains rows of these, rows of the other six, rows with wrong answers, and near-duplicates.
Methods pick from the pool, a fresh adapter is trained on the picks, and the loss on held-out rows
of the target tasks is measured. Everything is drawn again for every seed, and shared by all methods
of a seed, so that comparisons are paired.

    python benchmarks/controlled.py --seeds 3 --json out.json
    python benchmarks/controlled.py --json out.json --pools half_off_target --methods random bids
    python benchmarks/controlled.py --seeds 10 --methods all --json out.json
    python benchmarks/controlled.py --json out.json --seeds 0 --plots docs/images --page PAGE.md

Results are written after every seed; running the same command again continues with the missing
ones.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

from controlled_lab.arms import ARMS, CORE
from controlled_lab.page import filled
from controlled_lab.pools import POOLS
from controlled_lab.summary import tables
from controlled_lab.trial import Settings, run

if TYPE_CHECKING:
    from typing import Any

PARTS = ("rows", "columns", "audit")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pools", nargs="+", choices=list(POOLS), default=list(POOLS))
    parser.add_argument(
        "--methods", nargs="+", choices=[*ARMS, "all"], default=list(CORE), metavar="METHOD",
        help=f"METHOD, METHOD:NORMALIZATION, METHOD@ESTIMATOR or all; default: {' '.join(CORE)}",
    )  # fmt: skip
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.01, 0.03, 0.05, 0.1, 0.2],
                        help="fractions of the pool")  # fmt: skip
    parser.add_argument("--json", type=Path, help="where results are kept; read first if there")
    parser.add_argument("--plots", type=Path, help="folder for figures of all results")
    parser.add_argument("--page", type=Path, nargs="+", help="pages whose tables are written anew")
    return parser.parse_args()


def missing(settings: Settings, done: set[tuple[str, str]]) -> Settings | None:
    """Return the settings without the finished (pool, method) pairs; None if nothing is left."""
    wanted = [(pool, arm) for pool in settings.pools for arm in settings.arms]
    left = [pair for pair in wanted if pair not in done]
    if not left:
        return None
    pools, arms = ({pair[side] for pair in left} for side in (0, 1))
    return replace(
        settings,
        pools=tuple(pool for pool in settings.pools if pool in pools),
        arms=tuple(arm for arm in settings.arms if arm in arms),
    )


def kept(file: Path | None, settings: Settings) -> dict[str, Any]:
    """Return the results of earlier runs; refuse those with other settings."""
    fixed = {k: v for k, v in asdict(settings).items() if k not in ("pools", "arms")}
    fixed = json.loads(json.dumps(fixed))
    if file is None or not file.exists():
        return {"args": fixed, **{part: [] for part in PARTS}}
    found: dict[str, Any] = json.loads(file.read_text())
    if found["args"] != fixed:
        msg = f"{file} holds results of other settings ({found['args']}): name another file"
        raise SystemExit(msg)
    return found


def check_pools(
    rows: list[dict[str, Any]], seed: int, pools: tuple[str, ...], file: Path | None
) -> None:
    """Refuse to add a seed's results to those of other pools: a seed draws all pools at once."""
    known = {row["pool"] for row in rows if row["seed"] == seed}
    if known and known != set(pools):
        msg = (
            f"{file} holds seed {seed} with other pools ({', '.join(sorted(known))}). The pools of "
            "a seed share the draw of the warmup's rows: name the same pools, or another file"
        )
        raise SystemExit(msg)


def main() -> None:
    args = arguments()
    warnings.filterwarnings("ignore", category=FutureWarning)
    methods = ARMS if "all" in args.methods else tuple(args.methods)
    pools = tuple(pool for pool in POOLS if pool in args.pools)
    settings = Settings(pools, methods, tuple(args.budgets))
    results = kept(args.json, settings)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        done = {(row["pool"], row["method"]) for row in results["rows"] if row["seed"] == seed}
        left = missing(settings, done)
        if left is None:
            continue
        check_pools(results["rows"], seed, left.pools, args.json)
        started = time.perf_counter()
        for part, rows in run(seed, left).items():
            results[part] = merged(results[part], rows)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        if args.json:
            aside = args.json.with_suffix(".part")
            aside.write_text(json.dumps(results))
            aside.replace(args.json)
    print(tables(results, pools=args.pools, methods=methods))
    if args.plots:
        from controlled_lab.plots import draw_all

        draw_all(results, args.plots)
    for page in args.page or ():
        page.write_text(filled(page.read_text(), results))


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return old and new results, without the old ones that are replaced."""
    keys = ("pool", "seed", "method", "budget", "score", "among")
    fresh = {tuple(row.get(key) for key in keys) for row in new}
    return [row for row in old if tuple(row.get(key) for key in keys) not in fresh] + new


if __name__ == "__main__":
    main()
