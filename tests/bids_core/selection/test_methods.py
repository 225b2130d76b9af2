"""Every method but BIDS against a slow, obvious form of it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_core.errors import MatrixError
from bids_core.gradients.pooling import last_token, weighted_mean
from bids_core.influence.matrix import Matrix
from bids_core.selection import METHODS, best_rows, lexical, select, transport
from bids_core.selection.similarity import cosine_similarity

TASKS = ["math", "code", "math", "logic", "code", "math"]
SUBTASKS = ["a", "x", "b", "y", "x", "a"]
TEXTS = [
    "Add two and three to get five.", "Sort the list of numbers.", "Write a loop in Python!",
    "The capital of France is Paris.", "Two plus two is four.", "A loop over numbers in Python.",
    "", "Sort sort sort.", "Every list of numbers has a sum.",
]  # fmt: skip
QUERIES = ["What is two plus three?", "Write Python", "xyzzy"]

seeds = st.integers(0, 2**32 - 1)
tied = st.booleans()


def draw(seed, *, tied, n_rows=30):
    rng = np.random.default_rng(seed)
    if tied:
        return rng.integers(-2, 3, (n_rows, 6)).astype(np.float32) / 2
    return rng.uniform(-1, 1, (n_rows, 6)).astype(np.float32)


def unused_inputs(values):
    """Everything that any method may need."""
    n_rows, n_columns = values.shape
    rng = np.random.default_rng(0)
    return {
        "tasks": TASKS[:n_columns], "sources": [f"s{i % 3}" for i in range(n_rows)],
        "texts": [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(n_rows)],
        "validation_texts": [f"{QUERIES[j % 3]} {j}" for j in range(n_columns)],
        "representations": rng.standard_normal((n_rows, 4)),
        "validation_representations": rng.standard_normal((n_columns, 4)),
        "perplexities": rng.uniform(1, 9, n_rows),
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seeds, tied)
def test_task_max_and_sum(oracles, seed, tied):
    values = draw(seed, tied=tied)
    found = select(values, 12, method="task_max", tasks=TASKS)
    assert found.indices.tolist() == oracles.task_max(values, TASKS, 12)
    found = select(values, 12, method="sum")
    assert found.indices.tolist() == oracles.task_max(values, ["all"] * 6, 12)
    assert found.winning_columns.tolist() == values[found.indices].argmax(axis=1).tolist()


@settings(max_examples=40, deadline=None)
@given(seeds, tied)
def test_round_robin_over_instances(oracles, seed, tied):
    values = draw(seed, tied=tied)
    found = select(values, 30, method="round_robin")
    assert found.indices.tolist() == oracles.round_robin(values, 30)
    assert found.winning_columns.tolist() == [step % 6 for step in range(30)]
    assert found.utilities.tolist() == values[found.indices, found.winning_columns].tolist()


@settings(max_examples=40, deadline=None)
@given(seeds, tied, st.booleans())
def test_round_robin_over_tasks_and_quota(oracles, seed, tied, with_subtasks):
    values = draw(seed, tied=tied)
    means = oracles.task_scores(values, TASKS, TASKS)
    found = select(values, 30, method="round_robin_tasks", tasks=TASKS)
    assert found.indices.tolist() == oracles.round_robin(means, 30)
    names = list(dict.fromkeys(TASKS))
    turns = [names[step % 3] for step in range(30)]
    assert [TASKS[column] for column in found.winning_columns] == turns
    subtasks = SUBTASKS if with_subtasks else None
    scores = oracles.task_scores(values, TASKS, subtasks or TASKS)
    found = select(values, 30, method="quota", tasks=TASKS, subtasks=subtasks)
    assert found.indices.tolist() == oracles.round_robin(scores, 30)


@settings(max_examples=40, deadline=None)
@given(seeds, tied, st.sampled_from([0.01, 0.3, 0.9]), st.integers(1, 30))
def test_knn_uniform(oracles, seed, tied, alpha, neighbours):
    values = draw(seed, tied=tied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "ALPHA", alpha)
        patch.setattr(transport, "NEIGHBOURS", neighbours)
        found = select(values, 12, method="knn_uniform")
    rows, _ = oracles.knn_uniform(values, 12, neighbours, alpha, transport.C)
    assert found.indices.tolist() == rows


def test_knn_uniform_stops_where_the_source_stops(oracles):
    values = draw(0, tied=False, n_rows=300)
    _, expected = oracles.knn_uniform(values, 1, 300, 0.3, transport.C)
    nearest = best_rows.top_rows(Matrix(values), 300)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "ALPHA", 0.3)
        assert transport.neighbours_to_use(nearest) == expected
    assert 1 < expected < 300


@pytest.mark.parametrize("count", [1, 7, 500])
def test_top_rows_of_a_matrix_larger_than_the_sample(monkeypatch, count):
    monkeypatch.setattr(best_rows, "_SAMPLE_ROWS", 20)
    values = np.round(np.random.default_rng(0).standard_normal((500, 6)), 1)
    rows, best = best_rows.top_rows(Matrix(values), count)
    for column in range(6):
        order = np.argsort(-values[:, column], kind="stable")[:count]
        assert rows[column].tolist() == order.tolist()
        assert best[column].tolist() == values[order, column].tolist()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_optimal_transport_is_that_of_pot(seed):
    import ot

    values = draw(seed, tied=False).astype(np.float64)
    n_rows, n_columns = values.shape
    plan = ot.unbalanced.sinkhorn_unbalanced(
        np.full(n_columns, 1 / n_columns), np.full(n_rows, 1 / n_rows), (1 - values.T) / 2,
        reg=0.01, reg_m=(float("inf"), 1e-4), reg_type="kl", stopThr=1e-14,
    )  # fmt: skip
    mass = transport.transported_mass(Matrix(values))
    np.testing.assert_allclose(mass, plan.sum(axis=0), rtol=1e-7)
    assert mass.sum() == pytest.approx(1)
    found = select(values, 12, method="optimal_transport")
    assert found.indices.tolist() == np.argsort(-plan.sum(axis=0), kind="stable")[:12].tolist()


def test_optimal_transport_loses_no_row_to_underflow():
    values = np.random.default_rng(0).standard_t(1.2, size=(500, 8)) * 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mass = transport.transported_mass(Matrix(values))
    assert np.isfinite(mass).all()
    assert mass.sum() == pytest.approx(1)


def test_optimal_transport_gives_equal_rows_equal_mass():
    values = np.tile(draw(1, tied=False, n_rows=5), (200, 1))
    mass = transport.transported_mass(Matrix(values)).reshape(200, 5)
    assert (mass == mass[0]).all()


def test_random_balanced_takes_the_same_from_each_source():
    sources = ["big"] * 50 + ["small"] * 3 + ["medium"] * 10
    values = np.zeros((63, 1)) + np.arange(63)[:, None]
    found = select(values, 25, method="random_balanced", sources=sources, seed=3)
    picked = [sources[row] for row in found.indices]
    assert {name: picked.count(name) for name in set(sources)} == {
        "small": 3, "medium": 10, "big": 12,
    }  # fmt: skip
    assert [picked[:9].count(name) for name in ("small", "medium", "big")] == [3, 3, 3]
    assert len(set(found.indices.tolist())) == 25
    other = select(values, 25, method="random_balanced", sources=sources, seed=4)
    assert other.indices.tolist() != found.indices.tolist()


def test_bm25_is_the_textbook_formula(oracles):
    words = [text.lower().replace(".", "").replace("!", "").split() for text in TEXTS]
    scores = lexical.bm25_scores(TEXTS, ["numbers loop"])[:, 0]
    mean_length = np.mean([len(t) for t in lexical_tokens(TEXTS)])
    for text, tokens, score in zip(words, lexical_tokens(TEXTS), scores, strict=True):
        expected = 0.0
        for word in ("numbers", "loop"):
            count, holders = text.count(word), sum(word in other for other in words)
            idf = np.log(1 + (len(TEXTS) - holders + 0.5) / (holders + 0.5))
            length = 1 - 0.75 + 0.75 * len(tokens) / mean_length
            expected += idf * count / (count + 1.5 * length)
        assert score == pytest.approx(expected, rel=1e-5)


def lexical_tokens(texts):
    import bm25s

    return bm25s.tokenize(texts, return_ids=False, show_progress=False)


def test_bm25_aggregates_like_less(oracles):
    scores = lexical.bm25_scores(TEXTS, QUERIES)
    found = select(None, 5, method="bm25", texts=TEXTS, validation_texts=QUERIES,
                   tasks=["math", "code", "code"])  # fmt: skip
    tasks = ["math", "code", "code"]
    assert found.indices.tolist() == oracles.less(scores, tasks, tasks, 5)


def test_dsir_weights_are_those_of_the_definition(oracles, monkeypatch):
    monkeypatch.setattr(lexical, "BUCKETS", 50)
    expected = oracles.dsir_log_weights(
        TEXTS, QUERIES, 50, lambda gram: xxhash.xxh3_64_intdigest(gram.encode()) % 50
    )
    np.testing.assert_allclose(lexical.dsir_log_weights(TEXTS, QUERIES), expected, rtol=1e-12)


def test_dsir_draws_in_proportion_to_the_weights(monkeypatch):
    """The first pick of the Gumbel trick is a draw from the softmax of the log weights."""
    weights = np.log([0.6, 0.3, 0.1])
    monkeypatch.setattr("bids_core.selection.signals.dsir_log_weights", lambda *_: weights)
    first = [
        select(
            None, 1, method="dsir", texts=list("abc"), validation_texts=["a"], seed=seed
        ).indices[0]
        for seed in range(2000)
    ]
    np.testing.assert_allclose(np.bincount(first) / 2000, [0.6, 0.3, 0.1], atol=0.04)


def test_rds_aggregates_cosines_like_less_and_rds_plus_takes_turns(oracles):
    rng = np.random.default_rng(0)
    train, validation = rng.standard_normal((30, 8)), rng.standard_normal((6, 8))
    cosines = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in validation]
                        for a in train])  # fmt: skip
    np.testing.assert_allclose(cosine_similarity(train, validation), cosines, rtol=1e-5)
    inputs = {"representations": train, "validation_representations": validation}
    found = select(None, 9, method="rds", tasks=TASKS, **inputs)
    assert found.indices.tolist() == oracles.less(cosines, TASKS, TASKS, 9)
    found = select(None, 9, method="rds_plus", **inputs)
    assert found.indices.tolist() == oracles.round_robin(cosines, 9)


def test_pooling_ignores_padding_on_either_side():
    import torch

    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    assert last_token(hidden, mask).tolist() == [[6, 7, 8], [21, 22, 23]]
    expected = [(hidden[0, 0] + 2 * hidden[0, 1] + 3 * hidden[0, 2]) / 6,
                (hidden[1, 2] + 2 * hidden[1, 3]) / 3]  # fmt: skip
    torch.testing.assert_close(weighted_mean(hidden, mask), torch.stack(expected))


def test_perplexity_bands():
    values = [5.0, 1.0, 9.0, 3.0, 7.0]
    for band, expected in {
        "perplexity_low": [1, 3, 0], "perplexity_high": [2, 4, 0], "perplexity": [0, 3, 4],
    }.items():  # fmt: skip
        found = select(None, 3, method=band, perplexities=values)
        assert found.indices.tolist() == expected
        assert found.utilities.tolist() == [values[row] for row in expected]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 1])
def test_budgets_are_nested_for_every_method(method, seed):
    values = draw(seed, tied=False)
    inputs = unused_inputs(values) | {"method": method, "seed": seed}
    whole = select(values, 30, **inputs)
    assert sorted(whole.indices.tolist()) == list(range(30))
    part = select(values, 11, **inputs)
    if method != "full":
        assert part.indices.tolist() == whole.indices[:11].tolist()
    assert part.indices.dtype == part.winning_columns.dtype == np.int64
    assert np.isfinite(part.utilities).all()
    assert part.winning_columns.max() < 6


@pytest.mark.parametrize(
    "method",
    ["bids", "bids_cautious", "instance_max", "less", "task_max", "sum", "round_robin",
     "round_robin_tasks",
     "quota", "knn_uniform", "optimal_transport"],
)  # fmt: skip
def test_permuting_the_rows_permutes_the_picks_of_every_method(method):
    values = draw(5, tied=False)
    order = np.random.default_rng(6).permutation(30)
    found = select(values[order], 20, method=method, tasks=TASKS)
    assert order[found.indices].tolist() == (
        select(values, 20, method=method, tasks=TASKS).indices.tolist()
    )


def test_the_configuration_offers_methods_that_there_are():
    from bids_core.config import SelectionConfig
    from bids_core.influence.normalization import NORMALIZATIONS

    offered = SelectionConfig.model_json_schema()["properties"]
    assert offered["method"]["anyOf"][0]["enum"] == list(METHODS)
    assert offered["normalization"]["enum"] == list(NORMALIZATIONS)


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_on_disk_gives_the_same(tmp_path, method):
    import zarr

    from bids_core.influence.matrix import as_matrix

    values = draw(0, tied=True)
    stored = as_matrix(
        zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(7, 6)), resident_bytes=0
    )
    inputs = unused_inputs(values) | {"method": method}
    found, expected = select(stored, 20, **inputs), select(values, 20, **inputs)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.winning_columns.tolist() == expected.winning_columns.tolist()


def test_what_is_missing_or_does_not_fit_is_said():
    values = draw(0, tied=False)
    for method, needed in {
        "bids": "attribution", "bm25": "texts", "dsir": "texts", "rds": "representations",
        "perplexity": "perplexities",
    }.items():  # fmt: skip
        with pytest.raises(MatrixError, match=f"needs `{needed}`"):
            select(values if method != "bids" else None, 3, method=method, tasks=TASKS,
                   **({"perplexities": [1.0] * 9} if method == "bids" else {}))  # fmt: skip
    with pytest.raises(MatrixError, match="nothing to select from"):
        select(None, 3)
    with pytest.raises(MatrixError, match="disagree on the number of training rows"):
        select(values, 3, method="bm25", texts=TEXTS, validation_texts=QUERIES)
    with pytest.raises(MatrixError, match="perplexity of row 1 is nan"):
        select(None, 1, method="perplexity", perplexities=[1.0, np.nan])
    with pytest.raises(MatrixError, match="not numbers"):
        select(None, 1, method="perplexity", perplexities=["a"])
    with pytest.raises(MatrixError, match="training row 1 is zero"):
        cosine_similarity(np.array([[1.0, 0], [0, 0]]), np.eye(2))
    with pytest.raises(MatrixError, match="width 3"):
        cosine_similarity(np.eye(3), np.eye(2))
    with pytest.raises(MatrixError, match="contains a word"):
        lexical.bm25_scores(["", "..."], ["two"])
    with pytest.raises(MatrixError, match="contain no words"):
        lexical.dsir_log_weights(["", ""], ["two"])
