from __future__ import annotations

import pytest

from bids_core.data.locate import InputFile, absolute, expand, find_files, split_suffix
from bids_core.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.jsonl", ("train", ".jsonl")),
        ("train.jsonl.gz", ("train", ".jsonl")),
        ("a.b.CSV.zst", ("a.b", ".csv")),
        ("noext", ("noext", "")),
    ],
)
def test_split_suffix(name, expected):
    assert split_suffix(name) == expected


def test_input_file_knows_kind_and_compression(tmp_path):
    file = InputFile(tmp_path / "x.jsonl.gz", "x.jsonl.gz")
    assert (file.kind, file.compression, file.stem) == (".jsonl", ".gz", "x")
    assert InputFile(tmp_path / "x.json", "x").compression is None


def test_expand_fills_in_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/there")
    assert expand("${SOME_DATA}/x.jsonl", where="pool") == "/there/x.jsonl"


def test_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(ConfigError, match=r"pool source 'x'.*NOT_SET_HERE.*not set"):
        expand("${NOT_SET_HERE}/x.jsonl", where="pool source 'x'")


def test_urls_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is a URL; download"):
        absolute("https://example.org/x.jsonl", tmp_path, where="pool")


def test_one_file_has_no_label(tmp_path, write):
    write("d/x.jsonl", [{}])
    (file,) = find_files(tmp_path / "d" / "x.jsonl", tmp_path, where="pool")
    assert (file.label, file.shown) == (None, "d/x.jsonl")


def test_glob_and_folder_are_sorted_and_labelled(tmp_path, write):
    for name in ("d/b.jsonl", "d/a.jsonl", "d/sub/a.csv", "d/.hidden/x.jsonl", "d/README.md"):
        write(name, "x")
    globbed = find_files(tmp_path / "d" / "*.jsonl", tmp_path, where="pool")
    assert [file.label for file in globbed] == ["a.jsonl", "b.jsonl"]
    folder = find_files(tmp_path / "d", tmp_path, where="pool")
    assert [file.label for file in folder] == ["a.jsonl", "b.jsonl", "sub/a.csv"]
    deep = find_files(tmp_path / "d" / "**" / "a.*", tmp_path, where="pool")
    assert [file.label for file in deep] == ["a.jsonl", "sub/a.csv"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("d/*.jsonl", "no file matches d/\\*.jsonl"),
        ("d/none.jsonl", "d/none.jsonl does not exist; relative paths start at"),
        ("d", "the folder d holds no file ending in .jsonl"),
        ("d/x.docx", "d/x.docx has an unknown suffix; expected one of .jsonl"),
    ],
)
def test_nothing_found_is_one_clear_line(tmp_path, write, path, message):
    write("d/x.docx", "x")
    with pytest.raises(DataError, match=f"^pool source 'p': {message}") as caught:
        find_files(tmp_path / path, tmp_path, where="pool source 'p'")
    assert "\n" not in str(caught.value)
