"""What the first screen says of the verdict, and what is left for the fold below it."""

from __future__ import annotations

from bids_core.comparison import Badge, Verdict
from bids_core.report.verdict import verdict_block


def test_methods_that_are_ahead_are_on_the_first_screen_and_not_said_twice():
    worse = tuple(f"BIDS is worse than `{name}`." for name in "abcd")
    verdict = Verdict(
        badge=Badge.BETTER, by=("loss",), sentences=("Better.", *worse, "Level.", "Try more."),
        findings=(), floor=0.1, command=None, advice="Try more.", ahead=worse,
    )  # fmt: skip
    block = verdict_block(verdict)
    assert block["badge"] == "better (by held-out answer loss)"
    assert [str(one).count("<code>") for one in block["ahead"]] == [1, 1, 1]
    assert "d" in block["rest"][0]  # a fourth is in the fold
    assert [str(one) for one in block["rest"][1:]] == ["Level."]
