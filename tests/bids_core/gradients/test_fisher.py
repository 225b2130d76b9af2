"""The Fisher metric against an explicit inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.errors import MatrixError
from bids_core.gradients import Features, FisherMetric, open_store, write_shard
from bids_core.influence.attribution import stream_influence
from bids_core.influence.stored import open_attribution


def store_of(folder, values):
    rows = torch.from_numpy(values)
    ids = [f"{folder.name}{i}" for i in range(len(rows))]
    features = Features(rows, rows.norm(dim=1), torch.zeros(len(rows)), ids, [], None, 0, 0.0)
    write_shard(folder, features, storage="float32")
    return open_store([folder])


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((12, 12)) * np.logspace(0, -2, 12)
    draw = lambda n: (rng.standard_normal((n, 12)) @ mix).astype(np.float32)  # noqa: E731
    return draw(40), draw(5)


@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_is_the_cosine_under_the_inverse(tmp_path, both, damping):
    train, validation = both
    stores = store_of(tmp_path / "t", train), store_of(tmp_path / "v", validation)
    metric = FisherMetric.fit(stores[0], damping=damping)
    stream_influence(
        [stores[0]], [stores[1]], [1.0], tmp_path / "a", metrics=[metric],
        tasks=["x"] * 5, capabilities=["y"] * 5,
    )  # fmt: skip
    got = open_attribution(tmp_path / "a").values()
    t, v = train.astype(np.float64), validation.astype(np.float64)
    fisher = t.T @ t / len(t)
    inverse = np.linalg.inv(fisher + damping * np.trace(fisher) / 12 * np.eye(12))
    length = lambda x: np.sqrt(np.einsum("ip,pq,iq->i", x, inverse, x))  # noqa: E731
    expected = (t @ inverse @ v.T) / length(t)[:, None] / length(v)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_large_damping_is_the_plain_cosine(tmp_path, both):
    train, _ = both
    metric = FisherMetric.of_rows([train], dim=12, n_rows=40, damping=1e6)
    rows = metric.whiten(train, row_ids=[""] * 40)
    plain = train / np.linalg.norm(train, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, plain @ plain.T, atol=1e-4)


def test_one_metric_a_checkpoint(tmp_path, both):
    train, validation = both
    stores = store_of(tmp_path / "t", train), store_of(tmp_path / "v", validation)
    with pytest.raises(MatrixError, match="0 metrics for 1"):
        stream_influence(
            [stores[0]], [stores[1]], [1.0], tmp_path / "a", metrics=[],
            tasks=["x"] * 5, capabilities=["y"] * 5,
        )  # fmt: skip
