from __future__ import annotations

import json

import pytest

from bids_core.data.formats import detect, to_messages
from bids_core.data.rejects import RejectedRow
from bids_core.records import Message

ASKED = [Message("user", "Q"), Message("assistant", "A")]
TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
SHARED = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]


@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("messages", {"messages": TURNS}),
        ("messages", {"prompt": "Q", "messages": TURNS}),
        ("messages", {"messages": json.dumps(TURNS)}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]},
                                   {"role": "assistant", "content": ["A"]}]}),
        ("sharegpt", {"conversations": SHARED}),
        ("sharegpt", {"conversations": TURNS}),
        ("sharegpt", {"conversation": SHARED, "system": ""}),
        ("alpaca", {"instruction": "Q", "input": "", "output": "A"}),
        ("alpaca", {"instruction": "Q", "output": "A"}),
        ("alpaca", {"instruction": "Q", "context": None, "response": "A", "category": "x"}),
        ("prompt_completion", {"prompt": "Q", "completion": "A"}),
        ("prompt_completion", {"prompt": "Q", "response": "A"}),
        ("prompt_completion", {"prompt": TURNS[:1], "completion": TURNS[1:]}),
        ("question_answer", {"question": "Q", "answer": "A"}),
        ("question_answer", {"query": "Q", "response": "A", "type": "x"}),
    ],
)  # fmt: skip
def test_each_format_is_detected_and_read(form, row):
    assert detect(row) == form
    assert to_messages(row, "auto") == ASKED
    assert to_messages(row, form) == ASKED


def test_alpaca_input_comes_after_the_instruction():
    row = {"instruction": "Add.", "input": "1 2", "output": "3"}
    assert to_messages(row, "auto")[0].content == "Add.\n\n1 2"


@pytest.mark.parametrize("form", ["conversations", "messages"])
def test_system_field_comes_first_unless_there_is_one(form):
    row = {form: SHARED, "system": "S"}
    assert to_messages(row, "auto") == [Message("system", "S"), *ASKED]
    row = {form: [{"from": "system", "value": "T"}, *SHARED], "system": "S"}
    assert to_messages(row, "auto")[0] == Message("system", "T")


def test_roles_of_other_files_are_translated():
    row = {
        "conversations": [{"from": r, "value": "x"} for r in ("System", "human", "bing", "tool")]
    }
    assert [m.role for m in to_messages(row, "auto")] == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ({"text": "x"}, "missing-field", "no known format has the fields text"),
        ({"prompt": "Q"}, "missing-field", "'prompt' is present, but not 'completion'"),
        ({"instruction": "Q"}, "missing-field", "'instruction' is present, but not 'output'"),
        ({"answer": "Q"}, "missing-field", "'answer' is present, but not 'question'"),
        ({"messages": None}, "wrong-type", "expected a list of messages, found None"),
        ({"messages": []}, "wrong-type", "list of messages"),
        ({"messages": "hello"}, "wrong-type", "list of messages"),
        ({"messages": "[1"}, "wrong-type", "not valid JSON"),
        ({"messages": ["hello"]}, "wrong-type", "a message is 'hello', not an object"),
        ({"messages": [{"content": "x"}]}, "missing-field", "no 'role'"),
        ({"messages": [{"role": "user"}]}, "missing-field", "no 'content'"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown-role", "'wizard'"),
        ({"messages": [{"role": 3, "content": "x"}]}, "unknown-role", "role 3"),
        ({"messages": [{"role": "user", "content": 3}]}, "wrong-type", "'content' is 3"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "unsupported-content", "'image_url'"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [1]}]},
         "bad-tools", "tool call"),
        ({"question": "Q", "answer": 42}, "wrong-type", "'answer' is 42, not text"),
        ({"prompt": {"a": 1}, "completion": "A"}, "wrong-type", "'prompt' is"),
        ({"instruction": "Q", "input": 3, "output": "A"}, "wrong-type", "'input' is 3"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_say_why(row, reason, words):
    with pytest.raises(RejectedRow) as caught:
        to_messages(row, "auto")
    assert caught.value.reason == reason
    assert words in caught.value.detail


def test_a_named_format_is_the_only_one_looked_for():
    with pytest.raises(RejectedRow, match="no 'instruction'"):
        to_messages({"prompt": "Q", "completion": "A"}, "alpaca")
