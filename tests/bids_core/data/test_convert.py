from __future__ import annotations

import pytest

from bids_core.config import SourceConfig, TestTask, ValidationTask
from bids_core.data.convert import make_converter
from bids_core.data.locate import InputFile
from bids_core.data.reading import RawRow
from bids_core.data.rejects import RejectedRow
from bids_core.data.sources import Source
from bids_core.errors import ConfigError
from bids_core.records import Message

ROW = {"prompt": "Q", "completion": "A"}


def make_source(split="train", **config):
    kinds = {"train": SourceConfig, "validation": ValidationTask, "test": TestTask}
    more = {} if split == "train" else {"task": "t", "capability": "c"}
    entry = kinds[split](path="x.jsonl", **more, **config)
    return Source(split, "src", f"{split} source 'src'", entry)


@pytest.fixture
def convert(tmp_path):
    def _convert(row, split="train", label=None, **config):
        raw = RawRow(InputFile(tmp_path / "x.jsonl", "x.jsonl", label), 7, row)
        return make_converter(make_source(split, **config)).convert(raw)

    return _convert


def reason(convert, *args, **config):
    with pytest.raises(RejectedRow) as caught:
        convert(*args, **config)
    return caught.value.reason


def test_pool_row(convert):
    example = convert(ROW)
    assert example.row_id == "src:7"
    assert example.location == "x.jsonl:7"
    assert example.messages == (Message("user", "Q"), Message("assistant", "A"))
    assert (example.task, example.capability, example.subtask, example.choices) == (None,) * 4


def test_validation_row_has_task_and_subtask(convert):
    example = convert(ROW | {"kind": "k"}, "validation", mapping={"subtask": "kind"})
    assert (example.task, example.capability, example.subtask) == ("t", "c", "k")
    assert convert(ROW, "validation", mapping={"subtask": "kind"}).subtask is None
    assert convert(ROW, "validation", mapping={"subtask": "_file"}).subtask == "x"


def test_row_ids(convert):
    assert convert(ROW | {"id": "abc"}).row_id == "abc"
    assert convert(ROW | {"id": 5}).row_id == "5"
    assert convert(ROW | {"id": None}).row_id == "src:7"
    assert convert(ROW | {"id": [1]}).row_id == "src:7"
    assert convert(ROW | {"key": "k", "id": "abc"}, mapping={"id": "key"}).row_id == "k"
    assert convert(ROW, mapping={"id": "{{ _file }}-{{ _line }}"}).row_id == "x-7"
    assert convert(ROW, label="sub/x.jsonl").row_id == "src:sub/x.jsonl:7"


def test_a_mapped_id_must_be_there(convert):
    assert reason(convert, ROW, mapping={"id": "key"}) == "missing-field"
    assert reason(convert, ROW | {"key": [1]}, mapping={"id": "key"}) == "wrong-type"
    assert reason(convert, ROW | {"key": " "}, mapping={"id": "key"}) == "missing-field"


def test_mapped_fields(convert):
    row = {"i": "Do.", "instances": [{"input": "x", "output": "y"}], "s": "Be."}
    mapping = {
        "prompt": "{{ i }} {{ instances[0].input }}", "completion": "instances.0.output",
        "system": "s",
    }  # fmt: skip
    example = convert(row, mapping=mapping)
    assert [(m.role, m.content) for m in example.messages] == [
        ("system", "Be."), ("user", "Do. x"), ("assistant", "y"),
    ]  # fmt: skip
    assert convert(row | {"s": None}, mapping=mapping).messages[0].role == "user"


def test_mapped_numbers_become_text(convert):
    mapping = {"prompt": "q", "completion": "a"}
    assert convert({"q": "Q", "a": 42}, mapping=mapping).messages[1].content == "42"
    assert reason(convert, {"q": "Q", "a": {"x": 1}}, mapping=mapping) == "wrong-type"


def test_mapped_messages_and_system_beside_a_detected_format(convert):
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    expected = (Message("user", "Q"), Message("assistant", "A"))
    assert convert({"chosen": chat}, mapping={"messages": "chosen"}).messages == expected
    with_system = convert(ROW | {"sys": "S"}, mapping={"system": "sys"})
    assert with_system.messages == (Message("system", "S"), *expected)


def test_suffix_leaves_nothing(convert):
    row = {"prompt": "Q", "completion": "<|endoftext|>"}
    assert reason(convert, row, strip_suffix="<|endoftext|>") == "empty-completion"
    row = {"prompt": "Q", "completion": "A<|endoftext|>"}
    assert convert(row, strip_suffix="<|endoftext|>").messages[1].content == "A"


def test_only_test_rows_do_without_an_answer(convert):
    example = convert({"p": "Q"}, "test", mapping={"prompt": "p"})
    assert example.messages == (Message("user", "Q"),)
    with pytest.raises(ConfigError, match="`prompt` but no `completion`; add it"):
        convert({"p": "Q"}, "validation", mapping={"prompt": "p"})


def test_choices(convert):
    row = {"q": "Q", "a": " two", "o": {"text": ["one ", "two"]}}
    mapping = {"prompt": "q", "completion": "a", "choices": "o.text"}
    example = convert(row, "test", mapping=mapping, metric="multiple_choice")
    assert example.choices == ("one", "two")
    assert example.messages[-1].content == "two"
    assert convert(row, "validation", mapping=mapping).messages[-1].content == " two"


@pytest.mark.parametrize(
    ("answer", "choices"),
    [("x", ["a", "b"]), ("a", ["a"]), ("a", ["a", "a"]), ("a", ["a", ""]), ("a", "a, b")],
)
def test_bad_choices(convert, answer, choices):
    mapping = {"prompt": "q", "completion": "a", "choices": "o"}
    row = {"q": "Q", "a": answer, "o": choices}
    assert reason(convert, row, "test", mapping=mapping, metric="multiple_choice") == "bad-choices"


def test_multiple_choice_needs_choices():
    with pytest.raises(ConfigError, match=r"multiple_choice needs mapping\.choices"):
        make_converter(make_source("test", metric="multiple_choice"))
