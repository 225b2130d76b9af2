"""A small made-up run: 40 training rows of two sources, two tasks with five instances each."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_core.comparison import Results, compare
from bids_core.report import ReportInputs
from bids_core.selection import select

TASKS = ["sums"] * 5 + ["quiz"] * 5


def score_row(method, task, score, *, n=50, loss=1.0):
    return {
        "method": method,
        "task": task,
        "capability": {"sums": "math"}.get(task, "logic"),
        "metric": "exact_match",
        "n": n,
        "score": score,
        "stderr": (score * (1 - score) / (n - 1)) ** 0.5 if n > 1 else float("nan"),
        "majority": 0.3,
        "answer_loss": loss,
        "answer_loss_stderr": 0.05,
    }


@pytest.fixture
def make_scores():
    """Make a scores frame of method -> (score on sums, score on quiz)."""

    def _make(n=50, **by_method):
        return pd.DataFrame(
            [
                score_row(method, task, score, n=n, loss=2 - score)
                for method, pair in by_method.items()
                for task, score in zip(("sums", "quiz"), pair, strict=True)
            ]
        )

    return _make


def samples_of(scores):
    """Make the answers to all test rows that give these scores: the first rows are right."""
    rows = []
    for line in scores.to_dict(orient="records"):
        right = round(line["score"] * line["n"]) if line["score"] == line["score"] else None
        for i in range(line["n"]):
            score = math.nan if right is None else float(i < right)
            loss = line["answer_loss"] + 0.3 * (-1) ** i * (line["n"] % 2 == 0)
            n_rows = 0 if line["method"] == "zero_shot" else 8
            task = line["task"]
            rows.append((line["method"], n_rows, 0, task, f"{task}{i}", score, loss))
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    return pd.DataFrame(rows, columns=columns)


def comparison_of(scores, main="bids"):
    """Compare the methods of a table of scores."""
    first = scores.drop_duplicates("task").set_index("task")
    results = Results.of(
        samples_of(scores), first["capability"].to_dict(), first["majority"].to_dict()
    )
    return compare(results, main)


@pytest.fixture
def scored():
    """Return the inputs of a report that tell what the methods scored."""

    def _scored(scores, main="bids"):
        return {"scores": scores, "comparison": comparison_of(scores, main)}

    return _scored


def conversation(question, answer):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps(turns)


@pytest.fixture
def inputs(make_scores, scored):
    random = np.random.default_rng(0)
    matrix = random.normal(size=(40, 10)).astype(np.float32)
    matrix[:, :5] += 1.0
    rows = [f"pool:{i}" for i in range(40)]
    sources = ["arithmetic" if i % 4 else "trivia" for i in range(40)]
    instances = [f"{task}:{i}" for i, task in enumerate(TASKS)]
    selections = {
        method: select(matrix, 8, method=method, tasks=TASKS).to_frame(
            rows, sources, instances, TASKS
        )
        for method in ("bids", "less", "random")
    }
    return ReportInputs(
        name="trial",
        created="2026-01-02T03:04:05+00:00",
        model="org/model",
        main_method="bids",
        config={
            "name": "trial",
            "gradients": {"train_feature": "adam", "adam_mode": "less_code", "dim": 512},
        },
        data={},
        attribution=matrix,
        row_ids=rows,
        sources=sources,
        validation_ids=instances,
        tasks=TASKS,
        capabilities=["math"] * 5 + ["logic"] * 5,
        selections=selections,
        conversations={name: conversation(f"Ask {name}", "42") for name in rows + instances},
        **scored(make_scores(zero_shot=(0.1, 0.2), bids=(0.5, 0.6), less=(0.5, 0.5))),
    )


@pytest.fixture
def full_inputs(inputs):
    """The same with every optional part."""
    tokens = {"total": 900, "min": 3, "median": 20, "p95": 50, "max": 60, "completion_total": 99}
    reject = {
        "location": "pool.jsonl:7", "reason": "malformed-json", "detail": "not JSON; mend it",
        "split": "train", "source": "trivia", "row_id": None,
    }  # fmt: skip
    account = {
        "split": "train", "source": "trivia", "task": None, "read": 11, "kept": 10, "rejected": 1,
        "skipped": 0, "cut": 0,
    }  # fmt: skip
    pair = {
        "pairs": 2, "rows": 2, "other_rows": 1, "by_kind": {"exact": 2}, "by_task": {"sums": 2},
    }  # fmt: skip
    shard = {"checkpoint": 1, "rows": 40, "mean_loss": 1.5, "compute_seconds": 4.0}
    return replace(
        inputs,
        data={
            "rows": {"train": {"total": 40}, "validation": {"total": 10}, "test": {"total": 0}},
            "tokens": {"train": tokens, "validation": tokens, "test": tokens},
            "truncated": {"train": 1},
            "sources": [account],
            "overlap": {"train/test": pair},
        },
        rejects=[reject] * 5,
        warmup={
            "losses": [2.0, 1.5, 1.0, 0.9], "learning_rates": [1e-5, 2e-5, 1e-5, 0.0],
            "epochs": [0, 0, 1, 1], "tokens": 1234, "n_rows": 40,
            "checkpoint_weights": [0.75, 0.25],
        },
        gradients=[
            {**shard, "split": "train", "eps_dominated_share": 0.8, "nonfinite_row_ids": ["a"]},
            {**shard, "split": "validation", "rows": 10, "eps_dominated_share": None},
        ],
        timings={
            "prepare": {"seconds": 1.0, "cached": True, "peak_memory_bytes": 2**30},
            "warmup": {"seconds": 63.0, "cached": False, "peak_memory_bytes": 2**31},
        },
        versions={"torch": "2.13.0"},
        files={name: f"selected/{name}.jsonl" for name in inputs.selections},
    )  # fmt: skip
