"""Matrices that bring code, or claim to be larger than any memory."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from bids_core.errors import MatrixError
from bids_core.influence.files import read_matrix

PICKLE = {"id": "pickle", "protocol": 5}
DELTA = {"id": "delta", "dtype": "<f4", "astype": "<f4"}
V2 = {
    "zarr_format": 2, "shape": [4, 2], "chunks": [4, 2], "dtype": "<f4", "compressor": None,
    "fill_value": 0, "order": "C", "filters": None,
}  # fmt: skip
V3 = {
    "zarr_format": 3, "node_type": "array", "shape": [4, 2], "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0, "attributes": {},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}  # fmt: skip


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def array(folder, metadata, chunk=None):
    folder.mkdir(parents=True)
    version = metadata["zarr_format"]
    (folder / (".zarray" if version == 2 else "zarr.json")).write_text(json.dumps(metadata))
    place = folder / ("0.0" if version == 2 else "c/0/0")
    if chunk is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(chunk)
    return folder


@pytest.mark.parametrize("changes", [
    {"filters": [PICKLE]}, {"compressor": PICKLE}, {"filters": [DELTA, PICKLE]},
    {"filters": [PICKLE, DELTA]}, {"dtype": "|O", "filters": [PICKLE]}, {"dtype": "|O"},
    {"dtype": "|O", "filters": [{"id": "json2"}]}, {"dtype": "|O", "filters": [{"id": "msgpack2"}]},
])  # fmt: skip
def test_codecs_of_zarr_v2_that_run_code_are_refused(tmp_path, changes):
    folder = array(tmp_path / "m.zarr", V2 | changes, pickle.dumps(Evil(tmp_path / "RAN")))
    with pytest.raises(MatrixError):
        read_matrix(folder)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("codec", ["numcodecs.pickle", "pickle", "../x", "os.system"])
def test_codecs_of_zarr_v3_that_nobody_knows_are_refused(tmp_path, codec):
    metadata = V3 | {"codecs": [*V3["codecs"], {"name": codec, "configuration": {}}]}
    folder = array(tmp_path / "m.zarr", metadata, pickle.dumps(Evil(tmp_path / "RAN")))
    with pytest.raises(MatrixError, match="cannot be read as a Zarr array"):
        read_matrix(folder)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("shape", [[10**9, 10**6], [10**7, 10**3]])
def test_a_shape_that_is_a_mere_claim_is_refused(tmp_path, shape):
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    with pytest.raises(MatrixError, match="claims the shape"):
        read_matrix(array(tmp_path / "v3.zarr", V3 | {"shape": shape, "chunk_grid": grid}))
    with pytest.raises(MatrixError, match="claims the shape"):
        read_matrix(array(tmp_path / "v2.zarr", V2 | {"shape": shape, "chunks": [10, 10]}))


def test_npy_brings_no_pickle_and_no_claims(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([Evil(tmp_path / "RAN")], dtype=object))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000), }"
    header += b" " * (117 - len(header)) + b"\n"
    (tmp_path / "claim.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header + bytes(64))
    for name in ("pickle.npy", "claim.npy"):
        with pytest.raises(MatrixError, match="cannot be read as a numpy array"):
            read_matrix(tmp_path / name)
    assert not (tmp_path / "RAN").exists()
