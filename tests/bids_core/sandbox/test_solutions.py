import pytest

from bids_core.errors import DataError
from bids_core.sandbox.solutions import extract_code, solution_program

HUMAN_EVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\n\n\ndef root(n):\n    """Square root, rounded down."""\n',
    "test": "def check(candidate):\n    assert candidate(17) == 4\n",
    "entry_point": "root",
}
MBPP = {"task_id": 11, "text": "Add two.", "test_list": ["assert add(1, 2) == 3"]}


def passes(answer, row):
    namespace = {}
    try:
        exec(solution_program(answer, row), namespace)  # noqa: S102 - the test's own programs
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    "answer",
    [
        "    return math.isqrt(n)\n",  # the prompt's continuation
        "def root(n):\n    return math.isqrt(n)\n",  # the whole function, imports from the prompt
        "Here it is:\n```python\ndef root(n):\n    return math.isqrt(n)\n```\nDone.",
        "```\ndef root(n):\r\n    return math.isqrt(n)",  # never closed
    ],
)
def test_human_eval_answers(answer):
    assert passes(answer, HUMAN_EVAL)
    assert not passes(answer.replace("isqrt(n)", "isqrt(n) + 1"), HUMAN_EVAL)


def test_mbpp_answers():
    assert passes("def add(a, b):\r\n  return a + b", MBPP)
    assert not passes("def add(a, b): return a - b", MBPP)
    setup = MBPP | {"test_setup_code": "two = 2", "test_list": ["assert add(1, two) == 3"]}
    assert passes("def add(a, b): return a + b", setup)


def test_plain_tests():
    assert passes("x = 1", {"test": "assert x == 1"})


def test_rows_without_tests_are_refused():
    for row in ({}, {"test": " "}, {"test_list": []}, {"entry_point": "f", "prompt": "def f():"}):
        with pytest.raises(DataError, match="no tests"):
            solution_program("x = 1", row)
    with pytest.raises(DataError, match="not a list of texts"):
        solution_program("x = 1", {"test_list": "assert x"})


def test_code_of_an_answer():
    assert extract_code("no fence") == "no fence"
    assert extract_code("a\n```py\nb\n```\n```\nc\n```") == "b\n"
