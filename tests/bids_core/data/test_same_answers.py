"""Tasks whose answers are all the same are named."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd

from bids_core.data import same_answers, to_json
from bids_core.records import Message


def split(**tasks):
    rows = [
        (task, to_json((Message("user", f"{task} {n}"), *([Message("assistant", a)] if a else []))))
        for task, answers in tasks.items()
        for n, a in enumerate(answers)
    ]
    return SimpleNamespace(frame=pd.DataFrame(rows, columns=["task", "messages"]))


def test_a_task_with_one_answer_is_named_in_each_split():
    data = SimpleNamespace(
        validation=split(mood=["positive"] * 4, sums=["3", "4", "3"]),
        test=split(mood=["positive", "positive ", "positive"], sums=["1", "2", "3"]),
    )
    assert same_answers(data) == [
        "validation task mood: all 4 answers are 'positive': influence favours rows with this "
        "answer, whatever the question; add rows with other answers",
        "test task mood: all 3 answers are 'positive': always giving it scores 100%, so the task "
        "cannot tell methods apart; add rows with other answers",
    ]


def test_few_rows_and_rows_without_answers_are_not():
    data = SimpleNamespace(validation=split(a=["x", "x"]), test=split(b=["", "", ""]))
    assert same_answers(data) == []
