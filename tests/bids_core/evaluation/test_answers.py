import pytest

from bids_core.errors import ConfigError
from bids_core.evaluation.answers import compile_pattern, extract_answer, majority_score
from bids_core.sandbox import expression


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("  12 \n", None, "12"),
        ("first 3, then 42.", r"\d+", "42"),
        ("so #### 7 and #### 8 ", r"####\s*(\d+)", "8"),
        ("no number", r"\d+", None),
        ("x", r"(y)?x", None),
        ("", None, ""),
    ],
)
def test_answer_is_the_last_match(text, pattern, answer):
    compiled = None if pattern is None else expression(pattern, key="answer_pattern")
    assert extract_answer(text, compiled) == answer


def test_bad_pattern_is_named(make_task):
    with pytest.raises(ConfigError, match=r"test task 'sums': answer_pattern '\(' is not"):
        compile_pattern(make_task(answer_pattern="("))


def test_majority_is_the_most_frequent_reference():
    assert majority_score(["yes", "no", "yes", "yes"]) == 0.75
