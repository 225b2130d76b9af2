"""A large made-up run, for what a page makes of size: fast to make, never near a model.

`python tests/large_report.py OUT.html 300000 45000` writes its page.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bids_core.comparison import Results, compare
from bids_core.diagnostics.columns import column_histograms, column_shapes
from bids_core.report import ReportInputs, write_report
from bids_core.selection import select

METHODS = ("bids", "less", "random", "sum", "quota", "round_robin", "knn_uniform", "dsir")
CAPABILITIES = ("coding", "logic", "knowledge", "math", "instructions")
SYLLABLES = ("ba", "chi", "do", "fen", "gra", "hul", "ik", "jo", "kem", "lor", "mi", "nas", "op")


def words(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return as many words, common ones most often, as text has them."""
    vocabulary = np.array(["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)])
    places = np.minimum(rng.zipf(1.3, size=count) - 1, len(vocabulary) - 1)
    return vocabulary[rng.permutation(len(vocabulary))[places]]


def conversations(ids: list[str], rng: np.random.Generator, *, characters: int) -> dict[str, str]:
    """Return a conversation a row, as messages in JSON, of some length on average."""
    stock = words(200_000, rng)
    lengths = rng.poisson(characters / 7, size=len(ids)) + 4
    starts = rng.integers(0, len(stock) - lengths.max(), size=len(ids))
    made = {}
    for name, start, length in zip(ids, starts.tolist(), lengths.tolist(), strict=True):
        said = stock[start : start + length].tolist()
        turns = [
            {"role": "user", "content": " ".join(said[: length // 3])},
            {"role": "assistant", "content": " ".join(said[length // 3 :])},
        ]
        made[name] = json.dumps(turns)
    return made


def synthetic(
    *,
    rows: int = 60_000,
    picks: int = 9_000,
    methods: tuple[str, ...] = METHODS,
    tasks: int = 12,
    sources: int = 120,
    per_task: int = 5,
    characters: int = 700,
    test_rows: int = 40,
    seed: int = 0,
) -> ReportInputs:
    """Return the inputs of a report of a large run."""
    rng = np.random.default_rng(seed)
    names = [f"task_{'abcdefghijklmnop'[i]}_of_{CAPABILITIES[i % 5]}" for i in range(tasks)]
    per_column = [name for name in names for _ in range(per_task)]
    matrix = rng.standard_normal((rows, len(per_column)), dtype=np.float32)
    source_of = rng.integers(0, sources, size=rows)
    matrix += 0.4 * rng.standard_normal((sources, len(per_column)), dtype=np.float32)[source_of]
    row_ids = [f"pool:{i}" for i in range(rows)]
    instances = [f"{name}:{i}" for i, name in enumerate(per_column)]
    origins = [f"source_{i}" for i in source_of.tolist()]
    selections = {}
    for method in methods:
        if method in ("bids", "less"):
            made = select(matrix, picks, method=method, tasks=per_column)
            selections[method] = made.to_frame(row_ids, origins, instances, per_column)
        else:
            chosen = rng.permutation(rows)[:picks]
            selections[method] = pd.DataFrame(
                {"rank": np.arange(1, picks + 1), "row_id": [row_ids[i] for i in chosen.tolist()],
                 "source": [origins[i] for i in chosen.tolist()], "utility": 0.0,
                 "winning_validation": None, "winning_task": None}
            )  # fmt: skip
    scores, comparison, answers = evaluated(names, methods, picks, test_rows, rng)
    return ReportInputs(
        name="large",
        created="2026-01-02T03:04:05+00:00",
        model="org/model-with-a-long-name-8b-instruct",
        main_method="bids",
        config={"name": "large", "selection": {"normalization": "zscore"}},
        data={
            "rows": {"train": {"total": rows}},
            "sources": [
                {"split": "train", "source": f"source_{i}", "task": None, "read": 500, "kept": 500,
                 "rejected": 0, "skipped": 0, "cut": 0}
                for i in range(sources)
            ],
        },
        attribution=matrix,
        row_ids=row_ids,
        sources=origins,
        validation_ids=instances,
        tasks=per_column,
        capabilities=[CAPABILITIES[names.index(name) % 5] for name in per_column],
        selections=selections,
        conversations=conversations([*row_ids, *instances], rng, characters=characters),
        scores=scores,
        comparison=comparison,
        answers=answers,
        tables={
            "columns": column_shapes(matrix, tasks=per_column, warn=False),
            "histograms": column_histograms(matrix),
        },
        row_columns={
            "kind": [("question", "code", "chat")[i] for i in rng.integers(0, 3, rows).tolist()]
        },
        files={name: f"selected/{name}.jsonl" for name in methods},
    )  # fmt: skip


def evaluated(
    names: list[str], methods: tuple[str, ...], picks: int, n: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, object, pd.DataFrame]:
    """Return scores, their comparison and the answers, of all methods and the base model."""
    samples, scores, answers = [], [], []
    for method in ("zero_shot", *methods):
        for place, task in enumerate(names):
            right = rng.random(n) < (0.0 if method == "zero_shot" else 0.3 + 0.02 * (place % 7))
            for i in range(n):
                size = 0 if method == "zero_shot" else picks
                key = (method, size, 0, task, f"{task}:{i}")
                samples.append((*key, float(right[i]), float(rng.random() + 1)))
                said = "7" if right[i] else "The answer, as I see it, is 7."
                answers.append((method, task, f"{task}:{i}", float(right[i]), "3 + 4 =", "7", said))
            scores.append(
                {"method": method, "task": task, "capability": CAPABILITIES[place % 5],
                 "metric": "exact_match", "n": n, "score": float(right.mean()), "stderr": 0.05,
                 "majority": 0.2, "answer_loss": 1.5, "answer_loss_stderr": 0.04}
            )  # fmt: skip
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    areas = {task: CAPABILITIES[place % 5] for place, task in enumerate(names)}
    results = Results.of(pd.DataFrame(samples, columns=columns), areas, dict.fromkeys(names, 0.2))
    heads = ["method", "task", "row_id", "score", "question", "reference", "answer"]
    found = compare(results, "bids", draws=300)
    return pd.DataFrame(scores), found, pd.DataFrame(answers, columns=heads)


if __name__ == "__main__":
    out, n_rows, n_picks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    started = time.perf_counter()
    inputs = synthetic(rows=n_rows, picks=n_picks)
    print(f"made in {time.perf_counter() - started:.1f} s")  # noqa: T201
    started = time.process_time()
    write_report(inputs, out)
    print(f"page in {time.process_time() - started:.1f} s, {out.stat().st_size / 1e6:.2f} MB")  # noqa: T201
