from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import datasets
import pyarrow as pa
import pytest

from bids_core.data.hub import open_dataset, read_dataset
from bids_core.data.packed_arrow import packed_file
from bids_core.errors import DataError

ROWS = [{"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": "b"}]


def test_folder_of_one_split(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    dataset = open_dataset(tmp_path / "d", split=None, where="pool source 'd'")
    rows = list(read_dataset(dataset, tmp_path / "d"))
    assert [row.parse() for row in rows] == ROWS
    assert [row.location for row in rows] == ["d:1", "d:2"]
    assert [row.label for row in rows] == ["1", "2"]


def test_one_split_under_another_name(tmp_path):
    datasets.Dataset.from_list(ROWS, split="train").save_to_disk(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d", split="train", where="w")) == 2
    with pytest.raises(DataError, match="has no split 'dev' \\(it is one split: train\\)"):
        open_dataset(tmp_path / "d", split="dev", where="w")


def test_folder_of_several_splits(tmp_path):
    split = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": split, "dev": split.select([1])}).save_to_disk(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d", split="dev", where="w")) == 1
    with pytest.raises(DataError, match="has several splits; set `split` to one of: train, dev"):
        open_dataset(tmp_path / "d", split=None, where="w")
    with pytest.raises(DataError, match="has no split 'x'; set `split` to one of: train, dev"):
        open_dataset(tmp_path / "d", split="x", where="w")


def test_damaged_folder_is_one_line(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        open_dataset(tmp_path / "d", split=None, where="pool source 'd'")
    assert "\n" not in str(caught.value)


def test_hub_out_of_reach_is_one_line(monkeypatch):
    def refuse(*args):
        raise ConnectionError("Couldn't reach 'org/name' on the Hub\nlong trace")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError) as caught:
        open_dataset("hf:org/name", split=None, where="pool source 'name'")
    assert str(caught.value).startswith("pool source 'name': the dataset hf:org/name cannot be")
    assert "download it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hub_name_and_config_are_told_apart(monkeypatch):
    asked = []

    def load(name, subset):
        asked.append((name, subset))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_dataset("hf:openai/gsm8k:main", split=None, where="w")) == 2
    open_dataset("hf:org/name", split="train", where="w")
    assert asked == [("openai/gsm8k", "main"), ("org/name", None)]


@pytest.fixture
def listener():
    """A local server; the requests that reach it."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x", seen
        server.shutdown()


MEDIA = ["Image", "Audio", "Video", "Pdf", "Nifti"]


@pytest.mark.parametrize("kind", [name for name in MEDIA if hasattr(datasets, name)])
@pytest.mark.parametrize("depth", ["column", "list", "struct"])
def test_an_address_in_a_row_is_not_fetched(tmp_path, listener, kind, depth):
    address, seen = listener
    text, media = datasets.Value("string"), getattr(datasets, kind)()
    stored = {"bytes": None, "path": address}
    plain = {"bytes": datasets.Value("binary"), "path": text}

    def features(inner):
        deep = {
            "column": inner,
            "list": datasets.List(inner),
            "struct": datasets.List({"m": inner}),
        }
        return datasets.Features({"prompt": text, "completion": text, "media": deep[depth]})

    value = {"column": stored, "list": [stored, stored], "struct": [{"m": stored}]}[depth]
    row = {"prompt": "q", "completion": "a", "media": value}
    datasets.Dataset.from_list([row], features=features(plain)).save_to_disk(tmp_path / "d")
    info = tmp_path / "d" / "dataset_info.json"
    declared = json.loads(info.read_text()) | {"features": features(media).to_dict()}
    info.write_text(json.dumps(declared))
    dataset = open_dataset(tmp_path / "d", split=None, where="w")
    (row,) = read_dataset(dataset, tmp_path / "d")
    fields = row.parse()
    assert (fields["prompt"], fields["completion"]) == ("q", "a")
    assert address in json.dumps(fields["media"])
    assert seen == []


@pytest.mark.parametrize("name", ["../other/data-00000-of-00001.arrow", "absolute"])
def test_a_folder_that_names_files_elsewhere_is_refused(tmp_path, name):
    for folder in ("d", "other"):
        datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / folder)
    if name == "absolute":
        name = str(tmp_path / "other" / "data-00000-of-00001.arrow")
    state = tmp_path / "d" / "state.json"
    content = json.loads(state.read_text())
    content["_data_files"] = [{"filename": name}]
    state.write_text(json.dumps(content))
    with pytest.raises(DataError, match="which is missing"):
        open_dataset(tmp_path / "d", split=None, where="w")


def test_splits_of_a_folder_that_lie_elsewhere_are_refused(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "d")
    made.save_to_disk(tmp_path / "other")
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["../other"]}))
    with pytest.raises(DataError, match="is missing|cannot be loaded"):
        open_dataset(tmp_path / "d", split=None, where="w")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("part", ["rows", "dictionary"])
def test_compressed_arrow_files_are_not_unpacked(tmp_path, codec, part):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    (file,) = (tmp_path / "d").glob("*.arrow")
    text = pa.array(["x" * 1_000_000] * 20)
    table = pa.table({"prompt": text.dictionary_encode() if part == "dictionary" else text})
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (
        pa.OSFile(str(file), "wb") as out,
        pa.ipc.new_stream(out, table.schema, options=options) as w,
    ):
        w.write_table(table)
    with pytest.raises(DataError, match=r"\.arrow is compressed"):
        open_dataset(tmp_path / "d", split=None, where="w")


def test_plain_arrow_files_are_told_apart(tmp_path):
    rows = [{"prompt": "q", "n": [1, 2], "choices": {"a": "b"}}] * 3000
    saved = datasets.Dataset.from_list(rows)
    saved.cast_column("prompt", datasets.ClassLabel(names=["q"])).save_to_disk(tmp_path / "d")
    datasets.DatasetDict({"train": saved, "dev": saved}).save_to_disk(tmp_path / "splits")
    assert packed_file(tmp_path / "d") is None
    assert packed_file(tmp_path / "splits") is None
