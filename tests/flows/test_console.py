"""The terminal: plain lines in a pipe, one calm view on a terminal, the time left of the whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bids_core.planning.forecast import Work
from flows import console as module
from flows.console import ConsoleReporter

WORK = Work(tokens={"warmup": 100.0, "finetune bids": 300.0})


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", made.monotonic)
    return made


def reporter(*, terminal):
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, width=80, color_system=None, highlight=False,
        soft_wrap=True,
    )  # fmt: skip
    return ConsoleReporter(console), file


def test_in_a_pipe_each_ten_second_line_says_how_long_the_whole_run_takes(clock):
    shown, file = reporter(terminal=False)
    shown.expect(WORK)
    progress = shown.step("warmup", "examples")
    for seconds in (5, 5, 5, 5):
        clock.now += seconds
        progress(int(clock.now - 1000), 40)
    lines = file.getvalue().splitlines()
    assert lines[0] == "  warmup ..."
    assert lines[1:] == [
        "    warmup: 10/40 examples, 1.0/s, 30 s left; about 2 min left of the whole run",
        "    warmup: 20/40 examples, 1.0/s, 20 s left; about 2 min left of the whole run",
    ]
    clock.now += 20
    shown.end("warmup", seconds=40.0, cached=False)
    assert file.getvalue().splitlines()[-1] == "    about 2 min left of the whole run"
    assert "\x1b" not in file.getvalue()


def test_a_step_without_a_plan_says_its_own_time_alone(clock):
    shown, file = reporter(terminal=False)
    progress = shown.step("reading data", "rows")
    clock.now += 11
    progress(11, 22)
    assert file.getvalue().splitlines()[-1] == "    reading data: 11/22 rows, 1.0/s, 11 s left"


def test_on_a_terminal_a_line_below_the_bar_says_it(clock):
    shown, file = reporter(terminal=True)
    shown.expect(WORK)
    progress = shown.step("warmup", "examples")
    clock.now += 10
    progress(10, 40)
    shown._live.refresh()
    assert "about 2 min left of the whole run" in file.getvalue()
    shown.end("warmup", seconds=40.0, cached=False)
    assert "✓ warmup  40 s" in file.getvalue()


def test_an_error_takes_the_bar_off_the_terminal():
    shown, file = reporter(terminal=True)
    with pytest.raises(RuntimeError), shown.during("loading the model"):
        raise RuntimeError
    assert file.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in file.getvalue()  # the cursor


def test_a_run_that_fails_in_a_step_gives_the_cursor_back():
    from tasks.runtime.progress import current, reporting

    shown, file = reporter(terminal=True)
    with pytest.raises(RuntimeError), reporting(shown):
        current().step("warmup", "examples")
        raise RuntimeError
    text = file.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_shards_of_a_checkpoint_are_shown_as_one_step(clock):
    labels = [f"gradients train checkpoint 1 rows {n}-{n + 10}" for n in (0, 10, 20)]
    groups = dict.fromkeys(labels, ("gradients checkpoint 1", 10))
    shown, file = reporter(terminal=False)
    shown.expect(Work(tokens=dict.fromkeys(labels, 100.0), groups=groups))
    shown.end(labels[0], seconds=0.0, cached=True)
    for label in labels[1:]:
        progress = shown.step(label, "examples")
        clock.now += 10
        progress(5, 10)
        clock.now += 10
        shown.end(label, seconds=20.0, cached=False)
    assert file.getvalue().splitlines() == [
        "  gradients checkpoint 1 ...",
        "    gradients checkpoint 1: 5/20 examples, 0.5/s, 30 s left; about 30 s left of the whole "
        "run",
        "    gradients checkpoint 1: 15/20 examples, 0.5/s, 10 s left; about 10 s left of the "
        "whole run",
        "  ✓ gradients checkpoint 1  40 s",
        "    about 10 s left of the whole run",
    ]  # fmt: skip
    shown, file = reporter(terminal=False)
    shown.expect(Work(groups=groups))
    for label in labels:
        shown.end(label, seconds=0.0, cached=True)
    assert file.getvalue() == "  = gradients checkpoint 1  cached\n"


def test_with_a_speed_measured_beforehand_it_says_at_once_how_long_it_takes(clock):
    shown, file = reporter(terminal=False)
    shown.expect(Work(tokens={"warmup": 6000.0}, tokens_per_second=10.0))
    assert file.getvalue() == "  This takes about 10 min, less what the store has already.\n"
    progress = shown.step("warmup", "examples")
    clock.now += 10
    progress(1, 100)
    assert file.getvalue().splitlines()[-1].endswith("; about 16 min left of the whole run")


def test_what_has_no_estimate_is_said(clock):
    shown, file = reporter(terminal=False)
    shown.expect(Work(tokens={"warmup": 1.0}, beyond="the benchmark suites"))
    progress = shown.step("warmup", "examples")
    clock.now += 10
    progress(1, 2)
    assert (
        file.getvalue()
        .splitlines()[-1]
        .endswith("about 10 s left of the whole run, without the benchmark suites")
    )


WIDE = ["task", "metric", "majority", "zero_shot", "random"]


@pytest.mark.parametrize("width", [40, 60, 120])
def test_a_table_breaks_no_word_however_narrow_the_terminal_is(width):
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    rows = [["sentence_reordering", "exact_match", 0.25, "0.000  (6.18)", None]]
    console.print(module.table("Scores", WIDE, rows))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for word in (*WIDE, "sentence_reordering", "exact_match", "0.250", "(6.18)"):
        assert word in text, (width, word)
    assert ("┃" in text) == (width >= 75)


def test_a_table_without_rows_has_its_heads():
    file = io.StringIO()
    Console(file=file, width=80, color_system=None).print(module.table("None", WIDE, []))
    assert "zero_shot" in file.getvalue()


@pytest.mark.parametrize(("said", "width"), [("60", 60), ("", 120), ("3", 120), ("wide", 120)])
def test_columns_is_honoured_in_a_pipe(monkeypatch, said, width):
    monkeypatch.setenv("COLUMNS", said)
    monkeypatch.setattr(module.sys, "stdout", io.StringIO())
    assert module.output_console().width == width
