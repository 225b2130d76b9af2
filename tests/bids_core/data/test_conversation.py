from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_core.data.conversation import (
    check_conversation,
    completion_text,
    from_json,
    prompt_messages,
    strip_completions,
    to_json,
)  # fmt: skip
from bids_core.data.rejects import RejectedRow
from bids_core.records import Message


def chat(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(roles[turn[0]], turn[1:]) for turn in turns]


def test_prompt_and_completion_of_the_last_answer():
    messages = chat("ssys", "uq1", "aa1", "uq2", "aa2")
    assert prompt_messages(messages) == tuple(messages[:4])
    assert completion_text(messages) == "a2"


def test_a_row_without_answer_is_all_prompt():
    messages = chat("uq")
    assert prompt_messages(messages) == tuple(messages)
    assert completion_text(messages) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Yes<|end|>", "Yes"), ("Yes<|end|>\n", "Yes"), ("Yes", "Yes"), (" a <|end|>", " a "),
     ("<|end|>", ""), ("a<|end|>b", "a<|end|>b"), ("a<|end|><|end|>", "a<|end|>")],
)  # fmt: skip
def test_suffix_is_removed_once_at_the_end(text, expected):
    messages = chat("uq<|end|>", "a" + text)
    assert strip_completions(messages, "<|end|>")[1].content == expected
    assert strip_completions(messages, "<|end|>")[0] == messages[0]
    assert strip_completions(messages, None) == messages


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (chat("uq"), "no-assistant-turn"),
        (chat("ssys", "aa"), "no-user-turn"),
        (chat("uq", "aa", "uq"), "last-turn-not-assistant"),
        (chat("u \n", "aa"), "empty-prompt"),
        (chat("uq", "a\t "), "empty-completion"),
        (chat("uq", "a", "uq", "ab"), "empty-completion"),
        (chat("uq\x00", "aa"), "null-bytes"),
        (chat("uq", "a\udcff"), "not-utf8"),
    ],
)
def test_conversations_that_can_not_be_learned(messages, reason):
    with pytest.raises(RejectedRow) as caught:
        check_conversation(messages)
    assert caught.value.reason == reason


def test_conversations_that_can():
    check_conversation(chat("s", "uq", "aa", "t", "ab"))
    check_conversation(chat("uq"), prompt_only=True)


@given(st.lists(st.tuples(st.sampled_from("sua"), st.text(max_size=9)), max_size=4))
def test_json_round_trip(turns):
    messages = tuple(chat(*(role + text for role, text in turns)))
    assert from_json(to_json(messages)) == messages
