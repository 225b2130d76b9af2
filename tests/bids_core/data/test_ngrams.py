from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bids_core.data.ngrams import MOST_ROWS, Numbering, RunIndex

ROWS = st.lists(st.lists(st.sampled_from("abc"), max_size=9), max_size=9)


def shared(rows, others, tasks, n):
    """Return (row, other, share, words) of each pair."""
    numbering = Numbering()
    index = RunIndex([numbering.ids(words) for words in others], tasks, n=n)
    hits = index.shared(numbering.ids(words) for words in rows)
    return [(h.row, h.other, h.share, tuple(numbering.words(h.run_W))) for h in hits]


def runs(words, n):
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def literal(rows, others, n):
    """Compare every row with every text, run by run, leaving templates out."""
    held = {run for words in others for run in runs(words, n)}
    template = {
        run
        for run in held
        if sum(run in runs(words, n) for words in rows) > MOST_ROWS
        or sum(run in runs(words, n) for words in others) > MOST_ROWS
        or (len(others) >= 4 and 1 < sum(run in runs(w, n) for w in others) > len(others) / 2)
    }
    pairs = {}
    for j, other in enumerate(others):
        own = runs(other, n) - template
        for i, row in enumerate(rows):
            if own & runs(row, n) and len(own & runs(row, n)) >= len(own) / 2:
                pairs[i, j] = len(own & runs(row, n)) / len(own)
    return pairs


@given(ROWS, ROWS, st.integers(1, 4))
def test_pairs_are_those_of_the_literal_comparison(rows, others, n):
    found = shared(rows, others, ["t"] * len(others), n)
    assert {(row, other): share for row, other, share, _ in found} == literal(rows, others, n)
    for row, other, _, run in found:
        assert run in runs(rows[row], n) & runs(others[other], n)


def test_one_run_in_common_is_not_enough():
    text = ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert shared([text[:3]], [text], ["t"], 3) == []
    assert shared([text[:5]], [text], ["t"], 3) == [(0, 0, 0.5, ("a", "b", "c"))]


def test_words_of_many_pool_rows_are_a_template():
    others = [["a", "b", "c", "d"]]
    rare = [["a", "b", "c", f"r{i}"] for i in range(MOST_ROWS)]
    assert len(shared(rare, others, ["t"], 3)) == MOST_ROWS
    assert shared([*rare, ["a", "b", "c"]], others, ["t"], 3) == []


def test_words_of_most_rows_of_a_task_are_a_template():
    others = [["what", "is", "the", f"v{i}"] for i in range(4)]
    row = ["what", "is", "the", "point"]
    assert shared([row], others, ["t"] * 4, 3) == []
    assert len(shared([row], others[:3], ["t"] * 3, 3)) == 3
    two_of_five = [*others[:2], ["a"], ["b"], ["c"]]
    assert len(shared([row], two_of_five, ["t"] * 5, 3)) == 2


def test_order_of_words_counts():
    assert shared([["c", "b", "a"], ["a", "b"]], [["a", "b", "c"]], ["t"], 3) == []
