"""What a plan says: which setting to take, and when none."""

from __future__ import annotations

from bids_core.planning.plan_words import interval, plan_words


def row(name, share, value, *, kept=None, nats=None, fits_memory=None):
    ends = {"value": value, "low": value - 0.1, "high": value + 0.1}
    empty = {"value": None, "low": None, "high": None}
    cost = {"share": share, "seconds": 36_000 * share, "fits_memory": fits_memory}
    return {"name": name, "cost": cost, "overlap": ends, "nats": nats,
            "kept": kept or empty}  # fmt: skip


def plan(rows, *, chosen, hours=None, judges=True, left_out=()):
    return {
        "settings": rows, "chosen": chosen, "limits": {"hours": hours, "overlap": 0.7},
        "sample": {"chance": 0.15, "judges": judges}, "machine": {"label": "one A100"},
        "left_out": list(left_out),
    }  # fmt: skip


EXACT = row("exact", 1.0, 1.0)


def test_the_chosen_setting_with_what_it_costs_and_keeps():
    kept = {"value": 0.9, "low": 0.82, "high": 0.99}
    nats = {"value": 0.002, "low": 0.0002, "high": 0.0036}
    cheap = row("bm25 30%", 0.17, 0.82, kept=kept, nats=nats)
    assert plan_words(plan([EXACT, cheap], chosen="bm25 30%", left_out=["bm25 20%"])) == [
        "Take bm25 30%: 17% of the cost (1 h 42 min), keeps 0.82 (0.72 to 0.92) of the picks "
        "(chance: 0.15); and 0.90 (0.82 to 0.99) of their influence over random rows, "
        "which is 0.0020 (0.0002 to 0.0036) nats of held-out loss lost.",
        "Not tried, because they keep no more rows than the budget: bm25 20%.",
    ]
    doubtful = plan_words(plan([EXACT, row("bm25 20%", 0.1, 0.72)], chosen="bm25 20%"))
    assert "Its interval reaches below 0.70; a larger sample (--rows) narrows it." in doubtful[0]


def test_when_nothing_cheaper_will_do():
    poor = row("bm25 20%", 0.1, 0.4)
    found = plan_words(plan([EXACT, poor], chosen="exact", judges=False))
    assert found[0].startswith(
        "No cheaper setting keeps 0.70 of the exact picks: stay exact, or lower --overlap. The "
        "closest is bm25 20%: 10% of the cost (1 h 00 min), keeps 0.40"
    )
    assert found[1].startswith("The exact picks do not clearly have more influence")
    assert plan_words(plan([EXACT], chosen="exact")) == [
        "No cheaper setting keeps 0.70 of the exact picks: stay exact."
    ]


def test_what_time_and_memory_allow():
    cheap = row("bm25 20%", 0.1, 0.4)
    in_time = plan_words(plan([EXACT, cheap], chosen="bm25 20%", hours=2))
    assert in_time[0].startswith("Within 2 h, take bm25 20%: 10% of the cost")
    assert plan_words(plan([EXACT, cheap], chosen=None, hours=0.5)) == [
        "No setting fits into 0.5 h: the fastest, bm25 20%, takes 1 h 00 min."
    ]
    large = [row("exact", 1.0, 1.0, fits_memory=False), row("bm25 20%", 0.1, 0.4, fits_memory=True)]
    assert plan_words(plan(large, chosen="bm25 20%"))[1] == ("Too large for its memory: exact.")
    assert plan_words(plan(large, chosen=None))[0].startswith(
        "No setting that fits into its memory keeps 0.70 of the exact picks. The closest "
        "is bm25 20%: 10% of the cost"
    )
    none = [row("exact", 1.0, 1.0, fits_memory=False)]
    assert plan_words(plan(none, chosen=None)) == [
        "No setting fits into the memory of one A100: see docs/hardware.md."
    ]
    assert plan_words(plan(none, chosen=None, hours=3))[0].startswith(
        "No setting fits into the memory"
    )


def test_intervals():
    assert interval({"value": 1.0, "low": 1.0, "high": 1.0}) == "1.00"
    assert interval({"value": 0.5, "low": -0.1, "high": 1.2}) == "0.50 (\N{MINUS SIGN}0.10 to 1.20)"
    assert interval({"value": None, "low": None, "high": None}) == "\N{EN DASH}"
