"""What the models answered, and zeros that may be only format."""

from dataclasses import replace

import pandas as pd
import pytest

from bids_core.report import build_report
from bids_core.report.answers import answers_block, format_note


def frame(*answers, method="zero_shot", reference="7", score=0.0):
    return pd.DataFrame(
        [(method, "sums", f"r{i}", "3 + 4 =", reference, answer, score)
         for i, answer in enumerate(answers)],
        columns=["method", "task", "row_id", "question", "reference", "answer", "score"],
    )  # fmt: skip


def test_the_right_answer_among_other_words_is_said():
    note = format_note(frame("The answer is 7.", "It is 12 of course", "seven", "7, I think"))
    assert "scores 0%, but 2 of its 4 answers contain the right one among other words" in note


@pytest.mark.parametrize("answer", ["17", "70", "-7", "7.5x"])
def test_a_part_of_a_word_is_not_the_answer(answer):
    assert "contain the right one" not in format_note(frame(answer))


def test_answers_in_another_form_are_said_by_their_length():
    note = format_note(frame(*["To solve this problem we first need"] * 5))
    assert "the median length of its answers is 7 words, that of the reference answers 1" in note


def test_a_model_that_answers_in_form_or_scores_has_no_note():
    assert format_note(frame("8", "9", "3")) == ""
    assert format_note(frame("It is 7 of course", score=1.0)) == ""
    assert format_note(frame("It is 7", reference=None)) == ""
    assert format_note(frame("It is 7 of course", method="bids")) == ""


def test_three_answers_a_task_of_base_main_and_random(full_inputs):
    answers = pd.concat(
        [frame(*["The answer is 7."] * 5), frame(*"77788", method="bids", score=1.0),
         frame(*"12345", method="random"), frame(*"12345", method="less")]
    )  # fmt: skip
    block = answers_block(replace(full_inputs, answers=answers), ["sums", "quiz"])
    assert block["methods"] == ["zero-shot", "BIDS", "random"]
    (task,) = block["tasks"]
    assert len(task["rows"]) == 3
    assert [one["text"] for one in task["rows"][0]["answers"]] == ["The answer is 7.", "7", "1"]
    assert [one["verdict"] for one in task["rows"][0]["answers"]] == ["wrong", "right", "wrong"]
    page = build_report(replace(full_inputs, answers=answers))
    assert "Zero by format." in page
    assert answers_block(full_inputs, ["sums"]) is None
