"""Made-up answers to test rows."""

import numpy as np
import pandas as pd
import pytest

from bids_core.comparison import Results, compare, judge

COLUMNS = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]


def make_samples(arms, *, seeds=(0,)):
    """Make a table of {(method, n_rows): {task: (scores, losses)}}; the base model has no rows."""
    rows = [
        (method, n_rows, seed if n_rows else -1, task, f"{task}{i}", float(score), float(loss))
        for (method, n_rows), tasks in arms.items()
        for seed in (seeds if n_rows else [-1])
        for task, (scores, losses) in tasks.items()
        for i, (score, loss) in enumerate(zip(scores, losses, strict=True))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def verdict_of():
    """Judge samples, or shares of right answers and losses of {method: [(share, loss), ...]}."""

    def _verdict(
        arms=None, *, n=50, majority=0.0, samples=None, main="bids", noise=0.3, draws=None
    ):
        if samples is None:
            samples = make_samples(
                {
                    (method, 0 if method == "zero_shot" else 10): {
                        f"t{k}": (np.arange(n) < round(share * n),
                                  loss + noise * np.sin(np.arange(n) + 7 * len(method)))
                        for k, (share, loss) in enumerate(tasks)
                    }
                    for method, tasks in arms.items()
                }
            )  # fmt: skip
        names = list(dict.fromkeys(samples["task"]))
        results = Results.of(samples, dict.fromkeys(names, "x"), dict.fromkeys(names, majority))
        return judge(compare(results, main, draws=draws))

    return _verdict


@pytest.fixture
def samples_of():
    return make_samples
