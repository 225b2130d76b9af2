import numpy as np
import pytest
import torch

from bids_core.errors import MatrixError
from bids_core.gradients import Features, align, open_store, write_shard
from bids_core.influence.attribution import stream_influence
from bids_core.influence.stored import open_attribution


def write(folder, ids, seed=0, dim=16):
    values = torch.from_numpy(
        np.stack([np.random.default_rng([seed, int(i[1:])]).standard_normal(dim) for i in ids])
    ).float()
    features = Features(
        values, values.norm(dim=1), torch.arange(len(ids)).float(), list(ids), [], None, 0, 0
    )
    write_shard(folder, features, storage="float32")
    return folder


@pytest.fixture
def stores(tmp_path):
    names = [f"r{i}" for i in range(9)]
    first = [n for n in names if n != "r2"]
    second = [n for n in names if n not in ("r0", "r8")]
    made = []
    for place, ids in enumerate((first, second)):
        cuts = (ids[:4], ids[4:])
        folders = [write(tmp_path / f"{place}-{k}", part, place) for k, part in enumerate(cuts)]
        made.append(open_store(folders))
    return made


def test_only_rows_of_all_checkpoints_are_kept_in_order(stores):
    aligned, left_out = align(stores)
    assert left_out == ["r0", "r8", "r2"]
    for store, whole in zip(aligned, stores, strict=True):
        assert store.row_ids == ["r1", "r3", "r4", "r5", "r6", "r7"]
        places = [whole.row_ids.index(name) for name in store.row_ids]
        assert (store.rows(0, 6) == whole.rows(0, whole.n_rows)[places]).all()
        assert (store.rows(2, 5) == store.rows(0, 6)[2:5]).all()
        assert (store.norms == whole.norms[places]).all()
        assert (store.losses == whole.losses[places]).all()
        assert store.shape == (6, 16)
        assert store.rows(3, 3).shape == (0, 16)


def test_stores_that_agree_stay_as_they_are(stores):
    aligned, left_out = align([stores[0], stores[0]])
    assert aligned == [stores[0], stores[0]]
    assert left_out == []


def test_influence_of_aligned_stores_is_that_of_the_common_rows(stores, tmp_path):
    aligned, _ = align(stores)
    stream_influence(aligned, aligned, [0.7, 0.3], tmp_path / "a", tasks=["t"] * 6,
                     capabilities=["c"] * 6)  # fmt: skip
    found = open_attribution(tmp_path / "a")
    parts = [store.rows(0, 6) for store in aligned]
    expected = 0.7 * parts[0] @ parts[0].T + 0.3 * parts[1] @ parts[1].T
    assert found.row_ids == aligned[0].row_ids
    np.testing.assert_allclose(found.values(), expected, rtol=0, atol=1e-6)


def test_dot_products_undo_the_normalisation(stores, tmp_path):
    store = stores[0]
    stream_influence([store], [store], [1.0], tmp_path / "a", tasks=["t"] * 8,
                     capabilities=["c"] * 8, dot=True, keep_checkpoints=True)  # fmt: skip
    raw = store.rows(0, 8) * store.norms[:, None]
    found = open_attribution(tmp_path / "a")
    np.testing.assert_allclose(found.values(), raw @ raw.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.checkpoints()[0], raw @ raw.T, rtol=1e-5, atol=1e-5)


def test_nothing_in_common_is_refused(tmp_path):
    one = open_store([write(tmp_path / "a", ["r1"])])
    other = open_store([write(tmp_path / "b", ["r2"])])
    with pytest.raises(MatrixError, match="no row has a finite gradient"):
        align([one, other])


def test_a_store_reads_like_an_array(stores):
    store = stores[0]
    assert store.dtype == np.float32
    assert store[2:6].shape == (4, 16)
    assert (store[2:6] == store.rows(2, 6)).all()
