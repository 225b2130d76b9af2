"""Reading a matrix from memory and from disk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_core.errors import MatrixError
from bids_core.influence import matrix as module
from bids_core.influence.matrix import as_matrix


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((103, 4)).astype(np.float32)


@pytest.fixture
def on_disk(values, tmp_path):
    import zarr

    stored = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(10, 4))
    return as_matrix(stored, resident_bytes=0)


@pytest.mark.parametrize("slab_bytes", [1, 500, 1 << 20])
def test_blocks_cover_every_row_once_in_order(values, on_disk, monkeypatch, slab_bytes):
    monkeypatch.setattr(module, "_SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 7 * 8 * 4)
    for matrix in (as_matrix(values), on_disk):
        parts = list(matrix.blocks())
        np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), values)
        starts = [start for start, _ in parts]
        assert starts == np.cumsum([0, *(len(block) for _, block in parts)])[:-1].tolist()


def test_slabs_on_disk_are_whole_chunks(on_disk, monkeypatch):
    monkeypatch.setattr(module, "_SLAB_BYTES", 25 * 4 * 4)
    assert [len(slab) for _, slab in on_disk.slabs()] == [20, 20, 20, 20, 20, 3]


def test_rows_are_taken_in_any_order(values, on_disk):
    rows = [99, 3, 3, 0, 102, 50]
    np.testing.assert_array_equal(on_disk.take(rows), values[rows])
    np.testing.assert_array_equal(as_matrix(values).take(rows), values[rows])
    assert on_disk.take([]).shape == (0, 4)


def test_a_wrapped_matrix_stays_where_it_is(on_disk):
    assert not as_matrix(on_disk).resident
    assert as_matrix(on_disk, row_ids=[str(i) for i in range(103)]).row_name(5) == "row 5 ('5')"


def test_a_small_zarr_array_is_read_at_once(on_disk):
    assert as_matrix(on_disk.values).resident


def test_torch_tensors_of_every_float_type(values):
    import torch

    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensor = torch.from_numpy(values).to(dtype).requires_grad_()
        np.testing.assert_array_equal(as_matrix(tensor).values, tensor.detach().float().numpy())


def test_a_pandas_frame_brings_its_names(values):
    frame = pd.DataFrame(values, columns=list("wxyz"), index=[f"r{i}" for i in range(103)])
    matrix = as_matrix(frame)
    assert matrix.column_name(2) == "column 2 ('y')"
    assert matrix.row_name(7) == "row 7 ('r7')"


def test_names_must_fit(values):
    with pytest.raises(MatrixError, match="3 column names were given for a matrix with 4"):
        as_matrix(values, validation_ids=list("abc"))


def test_the_memory_for_rows_on_disk_is_kept_and_used(tmp_path):
    import zarr

    from bids_core.selection import select

    stored = zarr.create_array(tmp_path / "a.zarr", data=np.eye(50, 4), chunks=(8, 4))
    small = as_matrix(stored, resident_bytes=0, cache_bytes=64)  # two rows
    assert as_matrix(small, row_ids=[str(i) for i in range(50)]).cache_bytes == 64
    assert select(small, 9).indices.tolist() == select(np.eye(50, 4), 9).indices.tolist()
