"""Regular expressions of others: the same answers as in this process, and an end."""

import re
import threading

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bids_core.errors import ConfigError
from bids_core.sandbox import Expression, expression
from bids_core.sandbox import expressions as module

PATTERNS = [r"\d+", r"####\s*(\d+)", r"\\boxed\{([^{}]*)\}", r"(y)?x", r"\w+", r"(?i)\bß\w*", r"",
            r"[[:alpha:]]+", r"a{e<=1}", r"(?s)<answer>(.*?)</answer>", r"^.*$"]  # fmt: skip


def in_this_process(pattern, text):
    found = list(re.finditer(pattern, text))
    return found[-1][1 if found[-1].re.groups else 0] if found else None


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_answers_are_those_of_re(pattern):
    tried = expression(pattern, key="p")

    @given(st.text())
    @example("हिन्दी ١٢ \x1c\u2028 ßx 7\n8\r\n")
    @example("\ud800 #### 4 \\boxed{x} <answer>\n</answer>")
    def holds(text):
        assert tried.last_match(text) == in_this_process(pattern, text)
        assert tried.matches_whole(text) == bool(re.fullmatch(pattern, text))

    holds()


@pytest.mark.parametrize(("pattern", "text"), [
    (r"(a+)+b", "a" * 60), (r"(a|aa)+$", "a" * 60 + "b"), (r"(?:.|\n)*!", "x" * 50_000_000),
])  # fmt: skip
def test_one_that_takes_for_ever_or_all_memory_ends_in_one_line(monkeypatch, pattern, text):
    monkeypatch.setattr(
        module, "_MATCHER", module._MATCHER.replace("ITIMER_PROF, 5", "ITIMER_PROF, 0.3")
    )
    tried = Expression(pattern, key="test task 'x': answer_pattern")
    for _ in range(2):  # and it says so again
        with pytest.raises(
            ConfigError, match="test task 'x': answer_pattern: .* takes more than 5 s"
        ) as caught:
            tried.last_match(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    assert tried.last_match("aab1!") == in_this_process(pattern, "aab1!")  # the next text works


def test_no_process_stays_behind():
    before = {child.pid for child in psutil.Process().children()}
    tried = Expression(r"\d", key="p")
    assert tried.last_match("a1") == "1"
    (own,) = {child.pid for child in psutil.Process().children()} - before
    del tried
    assert not psutil.pid_exists(own)


def test_threads_share_one():
    tried, found = Expression(r"\d+", key="p"), {}

    def ask(number):
        found[number] = [tried.last_match(f"x{number}") for _ in range(50)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [str(n)] * 50 for n in range(8)}


@pytest.mark.parametrize(
    "pattern", ["(", "a{99999999999999}", "(" * 3000 + ")" * 3000, "a" * 10_001]
)
def test_what_is_no_expression_is_named(pattern):
    with pytest.raises(ConfigError, match="^p"):
        Expression(pattern, key="p")
