"""Variables of the chat template reach every rendering, and every test prompt."""

from __future__ import annotations

import copy
import json

import pytest
from template_families import family_tokenizer

from bids_core.config import TestTask
from bids_core.data import prepare, with_template_args
from bids_core.data.chat import ChatRenderer
from bids_core.errors import ConfigError
from bids_core.evaluation.rows import rows_of_task
from bids_core.records import IGNORED_LABEL, Message

TURNS = [Message("user", "Q"), Message("assistant", "A")]
BLANK = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def qwen(tokenizer):
    return family_tokenizer(tokenizer, "qwen")


def test_prompts_and_rows_agree_on_the_blank_thought(qwen):
    quiet = with_template_args(qwen, {"enable_thinking": False})
    assert ChatRenderer(quiet).prompt(TURNS[:1]).endswith(f"assistant\n{BLANK}")
    rendered = ChatRenderer(quiet).render(TURNS)
    ((start, end),) = rendered.spans
    assert rendered.text[:start] == ChatRenderer(quiet).prompt(TURNS[:1])
    assert rendered.text[start:end] == "A<|im_end|>"
    assert not ChatRenderer(qwen).prompt(TURNS[:1]).endswith(BLANK)


def test_everybody_who_renders_has_them(qwen):
    quiet = with_template_args(qwen, {"enable_thinking": False})
    dicts = [{"role": "user", "content": "Q"}]  # as lm-eval calls it
    text = quiet.apply_chat_template(dicts, tokenize=False, add_generation_prompt=True)
    assert text.endswith(BLANK)
    assert qwen.chat_template in quiet.chat_template
    assert with_template_args(qwen, {}) is qwen


@pytest.mark.parametrize(
    "value", [False, None, 3, 0.5, 'it\'s "quoted"\n{{ x }}', ["a"], {"k": [1]}]
)
def test_values_of_every_type(tokenizer, value):

    changed = copy.deepcopy(tokenizer)
    changed.chat_template = "{{ extra | tojson }}|{{ messages[0].content }}"
    changed = with_template_args(changed, {"extra": value})
    shown = changed.apply_chat_template([{"role": "user", "content": "Q"}], tokenize=False)
    assert json.loads(shown.rpartition("|")[0]) == value


@pytest.mark.parametrize("name", ["messages", "enable thinking", "enable_thinkin"])
def test_names_that_can_not_be_set(qwen, name):
    with pytest.raises(ConfigError, match=f"template_args: .*'{name}'"):
        with_template_args(qwen, {name: False})


def test_a_test_prompt_is_what_was_learned_after(qwen, write, make_config, tmp_path):
    row = {"prompt": "Is it?", "completion": "yes", "options": ["yes", "no"]}
    files = [write(f"{name}.jsonl", [row]) for name in ("pool", "val", "test")]
    for arguments in ({}, {"enable_thinking": False}):
        tokenizer = with_template_args(qwen, arguments)
        choices = {"path": files[2], "mapping": {"prompt": "prompt", "completion": "completion",
                                                 "choices": "options"}}  # fmt: skip
        data = prepare(make_config(files[:1], test=[choices]), tokenizer, base_dir=tmp_path)
        task = TestTask(path="x", task="test0", capability="c", metric="multiple_choice")
        (found,) = rows_of_task(data.test, task, tokenizer, max_positions=None)
        assert found.prompt_text.endswith(BLANK), "what the answer was learned after"
        (learned,) = data.train.examples()
        first = int((learned.labels != IGNORED_LABEL).argmax())
        assert list(found.prompt) == learned.input_ids[:first].tolist()
        assert [tokenizer.decode(c.labels[c.labels != IGNORED_LABEL])
                for c in found.choice_examples] == ["yes<|im_end|>", "no<|im_end|>"]  # fmt: skip


def test_a_call_that_is_asked_for_is_compared_as_the_template_writes_it(
    qwen, write, make_config, tmp_path
):
    call = {"function": {"name": "look", "arguments": '{"x": 1}'}}
    row = {
        "tools": [{"name": "look"}],
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
    }
    files = [write(f"{name}.jsonl", [row]) for name in ("pool", "val", "test")]
    data = prepare(make_config(files[:1], files[1:2], files[2:]), qwen, base_dir=tmp_path)
    task = TestTask(path="x", task="test0", capability="c")
    (found,) = rows_of_task(data.test, task, qwen, max_positions=None)
    assert found.reference == ('<tool_call>\n{"name": "look", "arguments": {"x": 1}}\n</tool_call>')
    assert found.scored_anyway


def test_weights_of_a_test_row_are_in_its_answer_loss_alone(qwen, write, make_config, tmp_path):
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": 0.5},
             {"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}]  # fmt: skip
    files = [write(f"{name}.jsonl", [{"messages": turns}]) for name in ("pool", "val", "test")]
    data = prepare(make_config(files[:1], files[1:2], files[2:]), qwen, base_dir=tmp_path)
    task = TestTask(path="x", task="test0", capability="c")
    (found,) = rows_of_task(data.test, task, qwen, max_positions=None)
    (learned,) = data.train.examples()
    assert found.example.weights.tolist() == learned.weights.tolist()
    assert found.last.weights is None
    assert not found.scored_anyway
