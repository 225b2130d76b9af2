import json

import numpy as np
import pytest

from bids_core.errors import DataError
from bids_core.evaluation.rows import last_completion, rows_of_task, stop_tokens
from bids_core.records import IGNORED_LABEL


def rows_for(split, task, tokenizer, *, max_positions=None):
    return rows_of_task(split, task, tokenizer, max_positions=max_positions)


def rendered(tokenizer, turns):
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("turns", [["2+2?"], ["Hi", "Hello!", "And 3+4?"]])
def test_prompt_is_exactly_what_training_saw(make_split, make_task, tokenizer, turns):
    split = make_split([("sums", turns, "4", None)])
    row = rows_for(split, make_task(), tokenizer)[0]
    assert list(row.prompt) == rendered(tokenizer, turns)
    assert row.example.input_ids[: len(row.prompt)].tolist() == list(row.prompt)
    assert row.reference == "4"
    assert row.opening == ""


def test_choices_are_tokenized_as_completions(make_split, make_task, tokenizer):
    choices = ("1", "10", "100")
    split = make_split([("quiz", "How many?", "10", choices)])
    row = rows_for(split, make_task("quiz", metric="multiple_choice"), tokenizer)[0]
    labels = split.frame["labels"][0]
    assert row.choice_examples[1].input_ids.tolist() == row.example.input_ids.tolist()
    assert row.choice_examples[1].labels.tolist() == labels.tolist()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for choice, example in zip(choices, row.choice_examples, strict=True):
        scored = example.labels[example.labels != IGNORED_LABEL].tolist()
        assert scored == [*tokenizer.encode(choice, add_special_tokens=False), end]


def test_only_the_last_turn_of_a_choice_is_scored(make_split, make_task, tokenizer):
    split = make_split([("quiz", ["Hi", "Hello!", "yes or no?"], "yes", ("yes", "no"))])
    row = rows_for(split, make_task("quiz", metric="multiple_choice"), tokenizer)[0]
    for example in row.choice_examples:
        assert last_completion(example.labels)[0] == len(row.prompt)
        assert (example.labels[: len(row.prompt)] == IGNORED_LABEL).all()


def test_last_completion_of_several_runs():
    labels = np.array([-100, 5, 6, -100, -100, 7, -100], dtype=np.int32)
    assert last_completion(labels) == (5, 6)


def test_stop_tokens_are_read_off_the_data(make_split, make_task, tokenizer):
    rows = rows_for(make_split([("sums", "2+2?", "4", None)]), make_task(), tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert stop_tokens(rows, tokenizer, [0]) == (end, 0)


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            ("quiz", "Which?", "C", ("A", "B")),
            {"metric": "multiple_choice"},
            r"quiz\.jsonl:1: the answer 'C' is not among the choices \['A', 'B'\]",
        ),
        (
            ("quiz", "Which?", "A", None),
            {"metric": "multiple_choice"},
            r"quiz\.jsonl:1: the row has no choices",
        ),
        (
            ("quiz", "Which?", "none", None),
            {"answer_pattern": r"\d+"},
            r"quiz\.jsonl:1: .* answer_pattern .* finds no answer in the reference 'none'",
        ),
        (("quiz", "Which?", None, None), {}, r"quiz\.jsonl:1: .* needs a reference answer"),
    ],
)
def test_what_can_not_be_scored_is_named(make_split, make_task, tokenizer, row, settings, message):
    with pytest.raises(DataError, match=message) as caught:
        rows_for(make_split([row]), make_task("quiz", **settings), tokenizer)
    assert "\n" not in str(caught.value)


def test_a_task_without_rows_is_refused(make_split, make_task, tokenizer):
    split = make_split([("sums", "2+2?", "4", None)])
    with pytest.raises(DataError, match="test task 'other' has no usable rows"):
        rows_for(split, make_task("other"), tokenizer)


def test_a_row_too_long_for_the_model_is_refused(make_split, make_task, tokenizer):
    split = make_split([("sums", "2+2? " * 5, "4", None)])
    with pytest.raises(DataError, match=r"sums\.jsonl:1: .* the model takes 30"):
        rows_for(split, make_task(max_new_tokens=20), tokenizer, max_positions=30)


def test_what_the_template_writes_before_the_answer_is_kept_apart(make_split, make_task, tokenizer):
    split = make_split([("sums", "2+2?", "4", None)])
    frame = split.frame.copy()
    opened = tokenizer.encode("<think>\n\n</think>\n\n4", add_special_tokens=False)
    start = int(np.flatnonzero(frame["labels"][0] != IGNORED_LABEL)[0])
    ids = np.array([*frame["input_ids"][0][:start], *opened], dtype=np.int32)
    frame["input_ids"] = [ids]
    frame["labels"] = [np.where(np.arange(len(ids)) < start, IGNORED_LABEL, ids)]
    assert json.loads(frame["messages"][0])[-1]["content"] == "4"
    row = rows_for(type(split)(frame), make_task(), tokenizer)[0]
    assert row.opening == "<think>\n\n</think>\n\n"
