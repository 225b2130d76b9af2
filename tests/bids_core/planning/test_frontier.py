"""What a setting keeps, against slow loops that say the same plainly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from bids_core.errors import MatrixError
from bids_core.planning.frontier import (
    LEAST_PICKS,
    Yardstick,
    choose,
    efficient,
    least_sample,
    lost,
    share_of,
)

DRAWS, SEED = 200, 3


def example(seed, *, n=60, columns=7, k=20):
    """A sample with three tasks of uneven size, whose exact picks are really worth more."""
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=(n, columns)) + rng.normal(size=(n, 1))
    tasks = ["a"] * 4 + ["b"] * 2 + ["c"] * (columns - 6)
    worth = exact.mean(axis=1)
    picks = np.argsort(-worth)[:k]
    rows = np.sort(rng.permutation(n)[: n - 13])
    influence = exact[rows] + rng.normal(size=(len(rows), columns))
    others = rows[np.argsort(-influence.mean(axis=1))[:k]]
    return exact, picks, tasks, rows, influence, others


def slow(exact, picks, tasks, rows, influence, others):
    """The definitions of the module, written out one row and one draw at a time."""
    n, columns = exact.shape
    names = sorted(set(tasks))
    worth = []
    for i in range(n):
        of_tasks = []
        for name in names:
            of_tasks.append(np.mean([exact[i, j] for j in range(columns) if tasks[j] == name]))
        worth.append(np.mean(of_tasks))
    rho = [spearmanr(influence[:, j], [exact[i, j] for i in rows]).statistic
           for j in range(columns)]  # fmt: skip
    hits = sum(1 for i in picks if i in set(others))

    def kept(drawn):
        mean = np.mean([worth[i] for i in drawn])
        mine = np.mean([worth[i] for i in drawn if i in set(others)])
        best = np.mean([worth[i] for i in drawn if i in set(picks)])
        return (mine - mean) / (best - mean)

    draws = np.random.default_rng(SEED).integers(0, n, (DRAWS, n))
    columns_drawn = np.random.default_rng(SEED).integers(0, columns, (DRAWS, columns))
    return {
        "rho": np.mean(rho),
        "rho_ends": np.quantile([np.mean([rho[j] for j in d]) for d in columns_drawn],
                                (0.025, 0.975)),
        "overlap": hits / len(picks),
        "kept": kept(range(n)),
        "kept_ends": np.quantile([kept(d) for d in draws], (0.025, 0.975)),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_setting_is_measured_as_the_definitions_say(seed):
    exact, picks, tasks, rows, influence, others = example(seed)
    yardstick = Yardstick(exact, picks, tasks=tasks, draws=DRAWS, seed=SEED)
    found = yardstick.measure(rows, influence, others)
    expected = slow(exact, picks, tasks, rows, influence, others)
    assert yardstick.judges
    assert yardstick.chance == pytest.approx(20 / 60)
    assert found.n_rows == 47
    assert found.rank_correlation.value == pytest.approx(expected["rho"])
    ends = (found.rank_correlation.low, found.rank_correlation.high)
    assert ends == pytest.approx(tuple(expected["rho_ends"]))
    assert found.overlap.value == expected["overlap"]
    assert found.kept.value == pytest.approx(expected["kept"])
    assert (found.kept.low, found.kept.high) == pytest.approx(tuple(expected["kept_ends"]))
    again = yardstick.measure(rows[::-1], influence[::-1], others[::-1])  # the order is nothing
    assert (again.overlap, again.n_rows) == (found.overlap, found.n_rows)
    assert again.kept.low == pytest.approx(found.kept.low)
    assert again.rank_correlation.high == pytest.approx(found.rank_correlation.high)


def test_the_exact_picks_keep_everything_and_random_ones_nothing():
    exact, picks, tasks, *_ = example(5)
    yardstick = Yardstick(exact, picks, tasks=tasks, draws=DRAWS)
    rows = np.arange(len(exact))
    found = yardstick.measure(rows, exact, picks)
    assert found.rank_correlation.value == pytest.approx(1)
    assert (found.overlap.value, found.overlap.high) == (1, 1)
    assert 0.8 < found.overlap.low < 1  # of twenty picks: another sample might lose one
    kept = [found.kept.value, found.kept.low, found.kept.high]
    assert kept == pytest.approx([1, 1, 1])
    everything = yardstick.measure(rows, -exact, rows)
    assert everything.kept.value == pytest.approx(0)
    assert everything.rank_correlation.value == pytest.approx(-1)


def test_columns_without_spread_and_picks_without_worth_give_no_number():
    exact, picks, tasks, rows, influence, others = example(1)
    flat = np.zeros_like(exact)
    yardstick = Yardstick(flat, picks, tasks=tasks, draws=DRAWS)
    found = yardstick.measure(rows, influence, others)
    assert not yardstick.judges
    assert found.to_dict()["rank_correlation"] == {"value": None, "low": None, "high": None}
    assert found.to_dict()["kept"]["value"] is None
    assert found.to_dict()["lost"]["low"] is None
    assert found.overlap.value == len(set(picks) & set(others)) / len(picks)
    one_flat = exact.copy()
    one_flat[:, 0] = 2.0
    found = Yardstick(one_flat, picks, tasks=tasks, draws=DRAWS).measure(rows, influence, others)
    assert np.isfinite(found.rank_correlation.value)  # of the six columns that vary
    worst = np.argsort(exact.mean(axis=1))[:20]
    assert not Yardstick(exact, worst, tasks=tasks, draws=DRAWS).judges


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exact": lambda a: np.where(a == a.max(), np.nan, a)}, "holds nan in row"),
        ({"exact": lambda a: a[:, 0]}, r"\[training rows, validation instances\]"),
        ({"picks": lambda p: np.append(p, p[0])}, "each row once"),
        ({"picks": lambda p: p[:0]}, "give at least one row"),
        ({"picks": lambda p: p + 60}, "beyond the 60"),
        ({"tasks": lambda t: t[1:]}, "6 tasks were given for 7"),
        ({"influence": lambda a: a[:, 1:]}, "does not fit"),
        ({"influence": lambda a: a * np.inf}, "every entry must be finite"),
        ({"others": lambda p: [0, 0]}, "each row once"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    names = ("exact", "picks", "tasks", "rows", "influence", "others")
    given = dict(zip(names, example(0), strict=True))
    for name, spoil in change.items():
        given[name] = spoil(given[name])
    with pytest.raises(MatrixError, match=words):
        Yardstick(given["exact"], given["picks"], tasks=given["tasks"], draws=9).measure(
            given["rows"], given["influence"], given["others"]
        )


def test_the_interval_of_a_share_covers_it():
    """Over many samples the interval holds the true share at least about as often as it says."""
    rng = np.random.default_rng(0)
    for share in (0.05, 0.5, 0.74, 0.97):
        ends = [share_of(hits, 40) for hits in range(41)]
        hits = rng.binomial(40, share, 4000)
        covered = np.mean([ends[h].low <= share <= ends[h].high for h in hits])
        assert covered > 0.92, share
    assert (share_of(0, 20).low, share_of(20, 20).high) == (0.0, 1.0)


def test_the_loss_is_what_is_not_kept():
    kept = share_of(3, 4)
    share, nats = lost(kept), lost(kept, 0.02)
    assert share.value == pytest.approx(0.25)
    assert share.low == pytest.approx(1 - kept.high)
    assert nats.high == pytest.approx(0.02 * (1 - kept.low))


def test_the_frontier_is_what_no_other_beats():
    rng = np.random.default_rng(1)
    costs, overlaps = rng.integers(0, 6, 40).tolist(), rng.integers(0, 6, 40).tolist()
    expected = []
    for a, b in zip(costs, overlaps, strict=True):
        beaten = False
        for c, d in zip(costs, overlaps, strict=True):
            if c <= a and d >= b and (c < a or d > b):
                beaten = True
        expected.append(not beaten)
    assert efficient(costs, overlaps) == expected
    assert efficient([1.0, 1.0], [0.5, 0.5]) == [True, True]  # equals do not beat each other


def test_the_cheapest_that_is_good_enough_or_the_best_that_fits():
    costs, overlaps = [1.0, 0.5, 0.2, 0.1], [1.0, 0.8, 0.8, 0.4]
    assert choose(costs, overlaps, least=0.7) == 2
    assert choose(costs, overlaps, least=0.9) == 0
    assert choose(costs, overlaps, least=0.7, allowed=[True, True, False, True]) == 1
    fits = [False, True, True, True]
    assert choose(costs, overlaps, least=0.9, allowed=fits, best=True) == 2  # as good, cheaper
    assert choose(costs, overlaps, least=0.9, allowed=[False] * 4, best=True) is None
    assert choose(costs, overlaps, least=0.5, allowed=[False, False, False, True]) is None


@pytest.mark.parametrize(("picks", "pool_rows"), [(70, 1759), (3, 400), (4000, 288_000), (20, 20)])
def test_the_least_sample_is_the_first_with_enough_picks(picks, pool_rows):
    rows = least_sample(picks, pool_rows)
    assert picks * rows // pool_rows >= LEAST_PICKS
    assert picks * (rows - 1) // pool_rows < LEAST_PICKS
