from __future__ import annotations

import pytest

from bids_core.progress import duration
from tasks.runtime.progress import describe


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0.4 s"), (46, "46 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_progress_tells_rate_and_time_left():
    assert describe(100, 400, "examples", 50.0) == "100/400 examples, 2.0/s, 2 min 30 s left"
