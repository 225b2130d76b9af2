"""The time left of a whole run: right when the speed is even, and soon after it changes."""

from __future__ import annotations

import pytest

from bids_core.planning.forecast import Forecast, Work, about

WORK = Work(
    tokens={"warmup": 1000.0, "gradients a": 600.0, "gradients b": 600.0, "finetune bids": 400.0,
            "finetune random": 400.0},
    seconds={"report": 2.0},
)  # fmt: skip


def test_nothing_is_said_before_anything_was_measured():
    forecast = Forecast(WORK)
    assert forecast.seconds_left() is None
    forecast.advance("warmup", share=0.01, seconds=1.0)  # still loading
    assert forecast.seconds_left() is None


def test_a_speed_measured_beforehand_counts_until_steps_were_measured():
    forecast = Forecast(Work(WORK.tokens, WORK.seconds, tokens_per_second=20.0))
    assert forecast.seconds_left() == pytest.approx(152)
    forecast.finish("warmup", seconds=100.0, cached=False)  # half as fast
    assert forecast.seconds_left() == pytest.approx(202)


def test_at_an_even_speed_it_is_exact_from_the_first_step_on():
    forecast = Forecast(WORK)  # 10 tokens a second: 302 s in all
    for seconds in (10.0, 50.0, 99.0):
        forecast.advance("warmup", share=seconds / 100, seconds=seconds)
        assert forecast.seconds_left() == pytest.approx(302 - seconds)
    forecast.finish("warmup", seconds=100.0, cached=False)
    assert forecast.seconds_left() == pytest.approx(202)
    forecast.finish("gradients a", seconds=60.0, cached=False)
    assert forecast.seconds_left() == pytest.approx(142)


def test_steps_of_a_kind_are_as_fast_as_the_first_of_them_was():
    forecast = Forecast(WORK)
    forecast.finish("warmup", seconds=100.0, cached=False)
    for name in ("gradients a", "gradients b"):
        forecast.finish(name, seconds=60.0, cached=False)
    forecast.finish("finetune bids", seconds=90.0, cached=False)  # the cost model said 40
    assert forecast.seconds_left() == pytest.approx(92)


def test_what_was_cached_is_done_and_says_nothing_of_the_speed():
    forecast = Forecast(WORK)
    forecast.finish("warmup", seconds=0.1, cached=True)
    forecast.finish("gradients a", seconds=0.1, cached=True)
    assert forecast.seconds_left() is None
    forecast.advance("gradients b", share=0.5, seconds=30.0)
    assert forecast.seconds_left() == pytest.approx(30 + 80 + 2)


def test_steps_that_nobody_planned_change_nothing():
    forecast = Forecast(WORK)
    forecast.advance("warmup", share=0.5, seconds=50.0)
    before = forecast.seconds_left()
    forecast.advance("audit", share=0.5, seconds=50.0)
    forecast.finish("audit", seconds=50.0, cached=False)
    assert forecast.seconds_left() == before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "about 10 s"), (44, "about 40 s"), (95, "about 2 min"), (3000, "about 50 min"),
     (8_400, "about 2 h 20 min")],
)  # fmt: skip
def test_an_estimate_is_said_as_one(seconds, words):
    assert about(seconds) == words
