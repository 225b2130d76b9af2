"""Matrices that bring code, or claim to be larger than any memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import tracemalloc
import zlib

import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
import zstandard

from bids_core.errors import ArtifactError, MatrixError, UserError
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


def packed(name, size):
    """A chunk of that many zeros."""
    zeros = bytes(size)
    return {
        "zstd": lambda: zstandard.ZstdCompressor().compress(zeros),
        "gzip": lambda: gzip.compress(zeros),
        "zlib": lambda: zlib.compress(zeros),
        "bz2": lambda: bz2.compress(zeros),
        "lzma": lambda: lzma.compress(zeros),
        "lz4": lambda: numcodecs.LZ4().encode(zeros),
        "blosc": lambda: numcodecs.Blosc(shuffle=0).encode(zeros),
    }[name]()


CONFIGURATIONS = {
    "zstd": {"level": 0, "checksum": False}, "gzip": {"level": 5},
    "blosc": {"typesize": 4, "cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0},
}  # fmt: skip


def v3(name):
    codec = {"name": name, "configuration": CONFIGURATIONS[name]}
    return V3 | {"codecs": [*V3["codecs"], codec]}


def v2(name):
    level = {"lz4": "acceleration", "lzma": "preset"}.get(name, "level")
    settings = {"id": name} if name == "blosc" else {"id": name, level: 1}
    return V2 | {"compressor": settings}


OF_V2 = ("zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "blosc")
FORMS = [*((v3, name) for name in CONFIGURATIONS), *((v2, name) for name in OF_V2)]


@pytest.mark.parametrize(("form", "name"), FORMS)
def test_a_chunk_unpacks_to_what_its_place_takes(tmp_path, form, name):
    fits = read_matrix(array(tmp_path / "fits.zarr", form(name), packed(name, 32)))
    assert not fits.matrix.values.any()
    tracemalloc.start()
    with pytest.raises(MatrixError, match="unpacks to more than the (32|96) bytes of its"):
        read_matrix(array(tmp_path / "bomb.zarr", form(name), packed(name, 1 << 26)))
    assert tracemalloc.get_traced_memory()[1] < 3 << 26  # of which packing it took 1 << 26
    tracemalloc.stop()


def sharded(inner, codecs=V3["codecs"], index_codecs=V3["codecs"], shard=(4, 2)):
    grid = {"name": "regular", "configuration": {"chunk_shape": list(shard)}}
    settings = {"chunk_shape": inner, "codecs": codecs, "index_codecs": index_codecs}
    codec = {"name": "sharding_indexed", "configuration": settings | {"index_location": "end"}}
    return V3 | {"chunk_grid": grid, "codecs": [codec]}


def test_chunks_within_shards_are_bounded_too(tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    zarr.create_array(tmp_path / "good.zarr", data=values, chunks=(2, 2), shards=(4, 2))
    assert (read_matrix(tmp_path / "good.zarr").matrix.values == values).all()
    bomb = packed("zstd", 1 << 26)
    index = np.array([0, len(bomb)], dtype="<u8").tobytes()
    metadata = sharded([4, 2], v3("zstd")["codecs"])
    with pytest.raises(MatrixError, match="unpacks to more than"):
        read_matrix(array(tmp_path / "bomb.zarr", metadata, bomb + index))


@pytest.mark.parametrize(("metadata", "message"), [
    (V3 | {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 10**5]}}},
     "claims the shape"),
    (V3 | {"shape": [10**4, 10**3], "chunk_grid": {"name": "regular", "configuration":
     {"chunk_shape": [1, 1]}}}, "claims 10,000,000 chunks"),
    (sharded([1, 1], shard=(10**4, 10**3)), "claims 10,000,000 chunks"),
    (sharded([4, 2], sharded([1, 1])["codecs"]), "ShardingCodec is not supported"),
    (V3 | {"codecs": [*V3["codecs"], {"name": "numcodecs.zlib", "configuration": {"level": 1}}]},
     "numcodecs.zlib is not supported"),
    (V2 | {"chunks": [10**6, 10**5]}, "claims the shape"),
    (V2 | {"filters": [DELTA]}, "delta is not supported"),
    (V2 | {"compressor": {"id": "packbits"}}, "packbits is not supported"),
])  # fmt: skip
def test_chunks_that_are_mere_claims_and_other_codecs_are_refused(tmp_path, metadata, message):
    with pytest.raises(MatrixError, match=message):
        read_matrix(array(tmp_path / "m.zarr", metadata))


def test_metadata_of_many_megabytes_is_refused(tmp_path):
    folder = array(tmp_path / "m.zarr", V3 | {"attributes": {"x": "y" * (1 << 24)}}, bytes(32))
    with pytest.raises(MatrixError, match=r"zarr\.json is .* bytes long"):
        read_matrix(folder)


def test_names_that_claim_or_unpack_to_too_much_are_refused(tmp_path):
    from bids_core.influence.stored import open_attribution

    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("attribution", data=np.ones((4, 2), np.float32))
    group.create_array("row_ids", shape=(10**9,), dtype=str, chunks=(10**6,), fill_value="x")
    with pytest.raises(ArtifactError, match="claims the shape"):
        read_matrix(tmp_path / "a.zarr")
    with pytest.raises(ArtifactError, match="claims the shape"):
        open_attribution(tmp_path / "a.zarr")


def test_parquet_tables_that_unpack_to_more_than_their_size_can_hold(tmp_path):
    long = pa.array(["x" * (1 << 22)]).dictionary_encode()
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), long.dictionary)
    values = pa.array(np.arange(300, dtype=np.float32))
    pq.write_table(pa.table({"row_id": ids, "v0": values}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="unpack to more than 1,073,741,824"):
        read_matrix(tmp_path / "m.parquet")
