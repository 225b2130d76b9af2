"""Thoughts before answers: where they end, and answers that were cut off inside one."""

import json
import math

import numpy as np
import pytest

from bids_core.config import GenerationConfig
from bids_core.evaluation import evaluate, macro_average, own_tasks
from bids_core.evaluation.generation import Answer, StopTexts
from bids_core.evaluation.likelihood import Scored
from bids_core.evaluation.thoughts import find_thought, text_behind_thought

HARMONY = "<|channel|>analysis<|message|>add<|end|><|start|>assistant<|channel|>final<|message|>4"


def found(text, prompt="", **more):
    """Find the thought of a text of one token a character; returns what is behind it."""
    tokens = [ord(character) for character in text]
    thought = find_thought(tokens, lambda ids, _: "".join(map(chr, ids)), prompt=prompt, **more)
    if thought is None:
        return None
    return "open" if thought.is_open else text[thought.n_tokens :]


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("4", "", None),
        ("a <think> in the middle", "", None),
        ("never </think> here", "", None),
        ("<think>2+2</think>4", "", "4"),
        ("\n<think>a</think>b<think>c</think>4", "", "4"),
        ("<think>2+2", "", "open"),
        ("", "assistant\n<think>\n", "open"),
        ("2+2</think>\n4", "assistant\n<think>\n", "\n4"),
        ("<think></think>", "", ""),
        ("[THINK]hm[/THINK]4", "", "4"),
        (HARMONY, "", "4"),
        (HARMONY.partition("<|end|>")[0], "", "open"),
        ("<|channel|>final<|message|>4", "", "4"),
    ],
)
def test_where_a_thought_ends(text, prompt, expected):
    assert found(text, prompt) == expected


def test_markers_of_ones_own():
    assert found("{{hm}}4", markers=[("{{", "}}")]) == "4"


def test_what_is_behind_a_reference_s_thought():
    assert text_behind_thought("<think>2+2</think>\n\n4") == "4"
    assert text_behind_thought("4") == "4"
    assert text_behind_thought("<think>never ended") == "<think>never ended"


def test_a_stop_text_within_a_thought_ends_nothing():
    def decode(ids):
        return "".join(map(chr, ids))

    def in_thought(index, ids):
        return found(decode(ids)) == "open"

    stops = StopTexts([["\n\n"]], decode, in_thought)
    assert not stops.reached(0, [*map(ord, "<think>a\n\n")])
    assert stops.reached(0, [*map(ord, "<think>a\n\n</think>4\n\n")])
    assert stops.reached(0, [*map(ord, "4\n\n")])


@pytest.fixture
def answering(monkeypatch):
    """Let a model answer with given texts; a text with END behind it was ended by the model."""

    def _answer(tokenizer, texts):
        def generate(model, examples, *, on_progress, **_):
            on_progress(len(examples), len(examples))
            return [
                Answer(
                    tokenizer.encode(text.removesuffix("END"), add_special_tokens=False),
                    Scored(-1.0, 1, is_greedy=False),
                    text.endswith("END"),
                )
                for text in texts
            ]

        monkeypatch.setattr(own_tasks, "generate", generate)

    return _answer


def test_answers_cut_off_inside_a_thought_are_not_judged(
    model, tokenizer, make_split, make_task, answering, caplog
):
    answering(
        tokenizer,
        ["<think>2+2</think>4END", "<think>still", "<think>gave upEND", "4END", "5END"],
    )
    split = make_split([("sums", f"2+2? {n}", "4", None) for n in range(5)])
    result = evaluate(model, tokenizer, split, [make_task()], tokens_per_batch=512)
    row = result.scores.iloc[0]
    assert row["score"] == pytest.approx(2 / 4)
    assert row["n"] == 4
    assert json.loads(row["more"]) == {own_tasks.UNFINISHED: 0.2}
    samples = result.samples
    np.testing.assert_array_equal(samples["score"], [1.0, math.nan, 0.0, 1.0, 0.0])
    assert samples["correct"].isna().tolist() == [False, True, False, False, False]
    assert samples["prediction"].fillna("").tolist() == ["4", "", "<think>gave up", "4", "5"]
    assert samples["generation"][0] == "<think>2+2</think>4"
    assert "1 of 5 answers (20%) ended inside a thought, at max_new_tokens 32" in caplog.text


def test_a_task_whose_answers_all_ended_inside_a_thought_has_no_score(
    model, tokenizer, make_split, make_task, answering
):
    answering(tokenizer, ["<think>a", "<think>b"])
    split = make_split([("sums", f"2+2? {n}", "4", None) for n in range(2)])
    scores = evaluate(model, tokenizer, split, [make_task()], tokens_per_batch=512).scores
    assert math.isnan(scores["score"][0])
    assert math.isnan(macro_average(scores)["task"])
    assert scores["answer_loss"][0] == 1.0


def test_a_reference_with_a_thought_is_compared_without_it(
    model, tokenizer, make_split, make_task, answering
):
    answering(tokenizer, ["4END", "<think>other</think>4END"])
    rows = [("sums", f"2+2? {n}", "<think>two and two</think>\n4", None) for n in range(2)]
    scores = evaluate(
        model, tokenizer, make_split(rows), [make_task()], tokens_per_batch=512
    ).scores
    assert scores["score"][0] == 1.0


def test_settings_of_a_task_come_before_those_of_all(make_task):
    assert make_task().generation is None
    assert make_task(generation={"temperature": 0.5}).generation == GenerationConfig(
        temperature=0.5
    )
