"""What is probably a mistake in the data is named."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd

from bids_core.data import doubts, to_json
from bids_core.records import Message, Reject


def split(**tasks):
    rows = [
        (task, to_json((Message("user", f"{task} {n}"), *([Message("assistant", a)] if a else []))))
        for task, answers in tasks.items()
        for n, a in enumerate(answers)
    ]
    return SimpleNamespace(frame=pd.DataFrame(rows, columns=["task", "messages"]))


def data(*, validation, test, sources=(), rejects=()):
    return SimpleNamespace(
        validation=split(**validation), test=split(**test),
        summary={"sources": list(sources)}, rejects=list(rejects),
    )  # fmt: skip


def test_a_task_with_one_answer_is_named_in_each_split():
    found = data(
        validation={"mood": ["positive"] * 4, "sums": ["3", "4", "3"]},
        test={"mood": ["positive", "positive ", "positive"], "sums": ["1", "2", "3"]},
    )
    assert doubts(found) == [
        "validation task mood: all 4 answers are 'positive': influence favours rows with this "
        "answer, whatever the question; add rows with other answers",
        "test task mood: all 3 answers are 'positive': always giving it scores 100%, so the task "
        "cannot tell methods apart; add rows with other answers",
    ]


def test_few_rows_and_rows_without_answers_are_not():
    assert doubts(data(validation={"a": ["x", "x"]}, test={"b": ["", "", ""]})) == []


def test_a_source_without_a_usable_row_is_named_with_the_first_reason():
    sources = [
        {"split": "train", "source": "math", "read": 60, "kept": 0},
        {"split": "train", "source": "talk", "read": 60, "kept": 1},
        {"split": "train", "source": "blank", "read": 0, "kept": 0},
    ]
    reject = Reject(split="train", source="math", location="math.csv:2", row_id="math:1",
                    reason="missing-field", detail="there is no field 'problm'")  # fmt: skip
    assert doubts(data(validation={}, test={}, sources=sources, rejects=[reject])) == [
        "pool source math: none of its 60 rows is usable (math.csv:2: there is no field 'problm')"
    ]
