"""Damaged matrices, labels, picks, texts and weights: a result, or one line."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from mutations import damaged, one_line, seeds

from bids_core.influence.files import read_matrix
from bids_core.influence.labels import Labels
from bids_core.selection import select
from bids_core.selection.files import read_selection, write_selection
from bids_core.selection.signal_files import read_perplexities, read_texts
from bids_core.training.moments import AdamMoments

MATRIX = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
IDS = [f"r{i}" for i in range(12)]
TASKS = [f"t{i % 2}" for i in range(4)]


@pytest.fixture(autouse=True)
def _quiet():
    """Warnings of odd columns are not what these tests look at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def matrices(folder):
    """Write the matrix in each form; returns the paths."""
    np.save(folder / "m.npy", MATRIX)
    frame = pd.DataFrame(MATRIX, columns=[f"v{i}" for i in range(4)])
    frame.insert(0, "row_id", IDS)
    frame.to_parquet(folder / "m.parquet")
    frame.to_csv(folder / "m.csv", index=False)
    for version in (2, 3):
        zarr.save_array(folder / f"m{version}.zarr", MATRIX, zarr_format=version)
    return sorted(folder.glob("m*"))


def spoil(good, bad, seed):
    """Copy a file or folder, with one of its files damaged."""
    if bad.is_dir():
        shutil.rmtree(bad)
    if good.is_dir():
        shutil.copytree(good, bad)
        files = sorted(path for path in bad.rglob("*") if path.is_file())
        bad = files[seed % len(files)]
        bad.write_bytes(damaged(bad.read_bytes(), seed))
    else:
        bad.write_bytes(damaged(good.read_bytes(), seed))


@pytest.mark.parametrize("name", ["m.npy", "m.parquet", "m.csv", "m2.zarr", "m3.zarr"])
def test_matrices(tmp_path, name):
    good = next(path for path in matrices(tmp_path) if path.name == name)
    bad = tmp_path / f"bad{good.suffix}"
    for seed in seeds(80):
        spoil(good, bad, seed)
        with one_line(f"{name}, seed {seed}"):
            labelled = read_matrix(bad)
            if labelled.matrix.n_rows * labelled.matrix.n_columns < 10_000:
                select(labelled.matrix, 3)


def labels():
    return Labels(12, 4, IDS, [f"v{i}" for i in range(4)], tuple(TASKS))


def write_labels(folder):
    (folder / "l.txt").write_text("\n".join(TASKS))
    (folder / "l.json").write_text(json.dumps(TASKS))
    (folder / "o.json").write_text(json.dumps({f"v{i}": TASKS[i] for i in range(4)}))
    frame = pd.DataFrame({"validation_id": [f"v{i}" for i in range(4)], "task": TASKS})
    frame.to_csv(folder / "l.csv", index=False)
    frame.to_parquet(folder / "l.parquet")


@pytest.mark.parametrize("name", ["l.txt", "l.json", "o.json", "l.csv", "l.parquet"])
def test_labels(tmp_path, name):
    write_labels(tmp_path)
    bad = tmp_path / f"bad{Path(name).suffix}"
    assert labels().with_file(tmp_path / name, of="tasks").tasks == tuple(TASKS)
    for seed in seeds(50):
        spoil(tmp_path / name, bad, seed)
        with one_line(f"{name}, seed {seed}"):
            found = labels().with_file(bad, of="tasks")
            assert len(found.tasks) == 4


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".npy", ".txt"])
def test_picks(tmp_path, suffix):
    good, bad = tmp_path / f"p{suffix}", tmp_path / f"bad{suffix}"
    write_selection(good, select(MATRIX, 5), labels())
    for seed in seeds(50):
        spoil(good, bad, seed)
        with one_line(f"{suffix}, seed {seed}"):
            read_selection(bad, labels())


TEXTS = [{"row_id": "a", "text": "one"}, {"row_id": "b", "messages": [{"content": "two"}]},
         {"row_id": "c", "prompt": "three", "completion": "four"}]  # fmt: skip


@pytest.mark.parametrize("name", ["t.txt", "t.json", "o.json", "t.jsonl", "t.csv", "t.parquet"])
def test_texts(tmp_path, name):
    (tmp_path / "t.txt").write_text("one\ntwo")
    (tmp_path / "t.json").write_text(json.dumps(TEXTS))
    (tmp_path / "o.json").write_text(json.dumps({row["row_id"]: row for row in TEXTS}))
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, TEXTS)))
    pd.DataFrame(TEXTS[:1]).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame(TEXTS[:1]).to_parquet(tmp_path / "t.parquet")
    bad = tmp_path / f"bad{Path(name).suffix}"
    assert read_texts(tmp_path / name)[1]
    for seed in seeds(50):
        spoil(tmp_path / name, bad, seed)
        with one_line(f"{name}, seed {seed}"):
            read_texts(bad)


@pytest.mark.parametrize("name", ["p.txt", "p.npy", "p.csv", "p.parquet"])
def test_perplexities(tmp_path, name):
    (tmp_path / "p.txt").write_text("1.5\n2.5\n")
    np.save(tmp_path / "p.npy", np.array([1.5, 2.5]))
    pd.DataFrame({"perplexity": [1.5, 2.5]}).to_csv(tmp_path / "p.csv", index=False)
    pd.DataFrame({"perplexity": [1.5, 2.5]}).to_parquet(tmp_path / "p.parquet")
    bad = tmp_path / f"bad{Path(name).suffix}"
    for seed in seeds(50):
        spoil(tmp_path / name, bad, seed)
        with one_line(f"{name}, seed {seed}"):
            read_perplexities(bad)


def test_adams_moments(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    tensors = {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(4)}
    squares = {name: value.clone() for name, value in tensors.items()}
    AdamMoments(tensors, squares, (0.9, 0.999), 1e-8, 7).save(good)
    for seed in seeds(80):
        spoil(good, bad, seed)
        with one_line(f"seed {seed}"):
            AdamMoments.load(bad).flat(sorted(tensors))
