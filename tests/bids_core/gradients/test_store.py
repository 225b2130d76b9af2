"""Shards on disk: round trips, and damage that must be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.errors import ArtifactError, DataError, NonFiniteError
from bids_core.gradients import Features, open_store, store, write_shard


def make(n=10, dim=24, *, seed=0, prefix="r"):
    values = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) * 1e-6
    return Features(
        values=values, norms=values.norm(dim=1), losses=torch.rand(n),
        row_ids=[f"{prefix}é{i}" for i in range(n)], nonfinite_row_ids=[],
        eps_dominated_share=None, n_tokens=0, seconds=0.0,
    )  # fmt: skip


def unit_rows(features):
    return torch.nn.functional.normalize(features.values, dim=1, eps=1e-30).numpy()


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float16", 5e-4), ("float32", 1e-6), ("int8", 1e-1)]
)
def test_round_trip(tmp_path, storage, tolerance):
    features = make()
    write_shard(tmp_path / "a", features, storage=storage, attributes={"checkpoint": 2})
    opened = open_store([tmp_path / "a"])
    rows = opened.rows(0, 10)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, unit_rows(features), rtol=tolerance, atol=tolerance / 10)
    np.testing.assert_allclose(opened.norms, features.norms)
    np.testing.assert_allclose(opened.losses, features.losses)
    assert opened.row_ids == features.row_ids
    assert opened.shards[0].group.attrs["checkpoint"] == 2


def test_shards_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_CHUNK_BYTES", 3 * 24 * 2)
    parts = [make(n, seed=n, prefix=f"s{n}-") for n in (7, 1, 5)]
    folders = [tmp_path / str(i) for i in range(3)]
    for folder, part in zip(folders, parts, strict=True):
        write_shard(folder, part)
    opened = open_store(folders)
    assert opened.n_rows == 13
    assert opened.row_ids == [row_id for part in parts for row_id in part.row_ids]
    whole = opened.rows(0, 13)
    np.testing.assert_allclose(whole, np.concatenate([unit_rows(p) for p in parts]), atol=1e-3)
    for size in (1, 2, 4, 100):
        blocks = list(opened.blocks(size))
        assert [start for start, _ in blocks] == list(range(0, 13, size))
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), whole)


def test_xarray_opens_it(tmp_path):
    xr = pytest.importorskip("xarray")
    features = make()
    for name in ("a", "b"):
        write_shard(tmp_path / name, make(prefix=name))
    plain = xr.open_zarr(tmp_path / "a", consolidated=False)
    assert dict(plain.sizes) == {"row": 10, "projected": 24}
    joined = open_store([tmp_path / "a", tmp_path / "b"]).to_xarray()
    assert joined.sizes["row"] == 20
    np.testing.assert_allclose(joined["norms"][:10], features.norms)


def chunk_files(folder):
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json"]


@pytest.mark.parametrize("array", ["projected_gradients", "norms", "row_ids"])
@pytest.mark.parametrize("damage", ["truncated", "bit", "lost", "emptied"])
def test_damage_is_seen_and_named(tmp_path, array, damage):
    write_shard(tmp_path / "shard-7", make())
    (path,) = [p for p in chunk_files(tmp_path / "shard-7") if array in p.parts]
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "bit":
        data[len(data) // 3] ^= 4
        path.write_bytes(data)
    elif damage == "lost":
        path.unlink()
    else:
        path.write_bytes(b"")
    with pytest.raises(ArtifactError, match="shard-7"):
        opened = open_store([tmp_path / "shard-7"])
        opened.rows(0, 10)
        _ = opened.norms


def test_metadata_damage_is_seen(tmp_path):
    write_shard(tmp_path / "a", make())
    (tmp_path / "a" / "projected_gradients" / "zarr.json").write_text("{")
    with pytest.raises(ArtifactError, match="run the stage again"):
        open_store([tmp_path / "a"])
    with pytest.raises(ArtifactError, match="nothing"):
        open_store([tmp_path / "nothing"])
    with pytest.raises(ArtifactError, match="at least one"):
        open_store([])


def test_shards_that_do_not_fit_are_refused(tmp_path):
    write_shard(tmp_path / "a", make())
    write_shard(tmp_path / "b", make(dim=12, prefix="o"))
    with pytest.raises(ArtifactError, match="different dimensions"):
        open_store([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ArtifactError, match="more than once"):
        open_store([tmp_path / "a", tmp_path / "a"])


def test_rows_without_direction_are_refused(tmp_path):
    features = make()
    features.values[4] = 0
    with pytest.raises(DataError, match="'ré4'"):
        write_shard(tmp_path / "a", features)
    features.values[4] = torch.nan
    with pytest.raises(NonFiniteError, match="'ré4'"):
        write_shard(tmp_path / "b", features)


def test_an_empty_shard_is_possible(tmp_path):
    write_shard(tmp_path / "none", make(0))
    write_shard(tmp_path / "some", make(3))
    opened = open_store([tmp_path / "none", tmp_path / "some"])
    assert opened.n_rows == 3
    assert opened.rows(0, 3).shape == (3, 24)


def test_tiny_gradients_do_not_underflow(tmp_path):
    features = make()
    features.values.mul_(1e-30)
    write_shard(tmp_path / "a", features)
    lengths = np.linalg.norm(open_store([tmp_path / "a"]).rows(0, 10), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)


def test_int8_cosines_are_within_its_step(tmp_path):
    """Rounding errs by at most half a step an entry, so a unit row by 0.5 scale sqrt(P)."""
    features = make(60, 512)
    write_shard(tmp_path / "a", features, storage="int8")
    rows, true = open_store([tmp_path / "a"]).rows(0, 60), unit_rows(features)
    half_step = np.abs(true).max(axis=1) / 127 / 2
    assert (np.abs(rows - true) <= half_step[:, None] * 1.001).all()
    assert np.abs(rows @ true.T - true @ true.T).max() < half_step.max() * 512**0.5
    (chunk,) = [p for p in chunk_files(tmp_path / "a") if "projected_gradients" in p.parts]
    chunk.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        open_store([tmp_path / "a"]).rows(0, 60)
