"""Influence in memory and from stores, against a triple loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.errors import ArtifactError, DataError, MatrixError, NonFiniteError
from bids_core.gradients import Features, open_store, write_shard
from bids_core.influence import attribution
from bids_core.influence.attribution import influence, stream_influence
from bids_core.influence.stored import open_attribution

C, N, M, P = 3, 17, 5, 12
WEIGHTS = [0.5, 0.3, 0.2]


def draw(rows, seed):
    return np.random.default_rng(seed).standard_normal((C, rows, P)).astype(np.float32)


def slow(train, validation, weights):
    total = np.zeros((train.shape[1], validation.shape[1]))
    for c, weight in enumerate(weights):
        for i in range(train.shape[1]):
            for j in range(validation.shape[1]):
                a, b = train[c, i].astype(np.float64), validation[c, j].astype(np.float64)
                total[i, j] += weight * a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return total


def test_is_the_weighted_cosine():
    train, validation = draw(N, 0), draw(M, 1)
    got = influence(train, validation, WEIGHTS)
    assert got.shape == (N, M)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, slow(train, validation, WEIGHTS), atol=1e-6)
    scaled = influence(torch.from_numpy(train * 1e-20), validation * 7, np.array(WEIGHTS))
    np.testing.assert_allclose(scaled, got, atol=1e-6)


def test_rows_without_direction_are_named():
    train, validation = draw(N, 0), draw(M, 1)
    train[1, 4] = 0
    with pytest.raises(DataError, match="train row 4 of checkpoint 1"):
        influence(train, validation, WEIGHTS)
    train[1, 4] = np.inf
    with pytest.raises(NonFiniteError, match="train row 4 of checkpoint 1"):
        influence(train, validation, WEIGHTS)
    validation[0, 2] = 0
    with pytest.raises(DataError, match="validation row 2 of checkpoint 0"):
        influence(draw(N, 0), validation, WEIGHTS)


@pytest.mark.parametrize(
    ("weights", "what"),
    [([1.0], "1 checkpoint weights for 3"), ([1, np.nan, 1], "finite"), ([1, -1, 1], "negative")],
)
def test_bad_weights(weights, what):
    with pytest.raises(MatrixError, match=what):
        influence(draw(N, 0), draw(M, 1), weights)


def test_shapes_that_do_not_fit():
    with pytest.raises(MatrixError, match="differ in checkpoints"):
        influence(draw(N, 0)[:2], draw(M, 1), WEIGHTS)
    with pytest.raises(MatrixError, match="checkpoints, rows, dimension"):
        influence(draw(N, 0)[0], draw(M, 1), WEIGHTS)


def stores(folder, features, prefix, cuts=()):
    """Write each checkpoint's rows in shards of float32."""
    opened = []
    for c, values in enumerate(features):
        folders, start = [], 0
        for stop in (*cuts, len(values)):
            part = torch.from_numpy(values[start:stop])
            place = folder / f"{prefix}-{c}-{start}"
            write_shard(
                place,
                Features(part, part.norm(dim=1), torch.zeros(len(part)),
                         [f"{prefix}{i}" for i in range(start, stop)], [], None, 0, 0.0),
                storage="float32",
            )  # fmt: skip
            folders.append(place)
            start = stop
        opened.append(open_store(folders))
    return opened


@pytest.fixture
def written(tmp_path):
    train, validation = draw(N, 0), draw(M, 1)
    return (
        train, validation,
        stores(tmp_path, train, "t", cuts=(6, 7)), stores(tmp_path, validation, "v"),
    )  # fmt: skip


LABELS = {"tasks": list("aabbb"), "capabilities": ["x"] * 5}


@pytest.mark.parametrize("block_rows", [1, 4, 1000])
def test_streaming_equals_memory(tmp_path, written, block_rows, monkeypatch):
    train, validation, train_stores, validation_stores = written
    monkeypatch.setattr(attribution, "BLOCK_BYTES", block_rows * 4 * P)
    seen = []
    stream_influence(
        train_stores, validation_stores, WEIGHTS, tmp_path / "out", **LABELS,
        subtasks=["s", None, None, None, "u"], attributes={"run": "x"}, keep_checkpoints=True,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    opened = open_attribution(str(tmp_path / "out"))
    np.testing.assert_allclose(opened.values(), influence(train, validation, WEIGHTS), atol=1e-6)
    assert opened.row_ids == [f"t{i}" for i in range(N)]
    assert opened.validation_ids == [f"v{i}" for i in range(M)]
    assert opened.tasks == list("aabbb")
    assert opened.capabilities == ["x"] * 5
    assert opened.subtasks == ["s", "", "", "", "u"]
    assert opened.checkpoint_weights == pytest.approx(WEIGHTS)
    assert seen[-1] == (N, N)
    parts = opened.checkpoints()
    assert parts.shape == (C, N, M)
    np.testing.assert_allclose(np.einsum("c,cnm->nm", WEIGHTS, parts), opened.values(), atol=1e-6)


def test_checkpoints_are_not_kept_unasked(tmp_path, written):
    _, _, train, validation = written
    stream_influence(train, validation, WEIGHTS, tmp_path / "out", **LABELS)
    with pytest.raises(MatrixError, match="keep_checkpoints"):
        open_attribution(tmp_path / "out").checkpoints()


def test_stores_that_do_not_fit(tmp_path, written):
    _, _, train, validation = written
    out = tmp_path / "out"
    with pytest.raises(MatrixError, match="3 train stores but 2"):
        stream_influence(train, validation[:2], WEIGHTS, out, **LABELS)
    with pytest.raises(MatrixError, match="has different rows"):
        stream_influence([train[0], validation[0], train[2]], validation, WEIGHTS, out, **LABELS)
    with pytest.raises(MatrixError, match="differ in number"):
        stream_influence(train, validation, WEIGHTS, out, tasks=["a"], capabilities=["x"])


@pytest.mark.parametrize("array", ["attribution", "tasks", "row_ids"])
@pytest.mark.parametrize("lost", [True, False])
def test_damage_is_seen(tmp_path, written, array, lost):
    _, _, train, validation = written
    stream_influence(train, validation, WEIGHTS, tmp_path / "out", **LABELS)
    (path,) = [p for p in (tmp_path / "out" / array / "c").rglob("*") if p.is_file()]
    if lost:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="again"):
        open_attribution(tmp_path / "out").values()
