"""Texts of others as Markdown: nothing in them is markup."""

import pytest

from bids_core.formatting import as_cells, as_code

PLAIN = ["", "row-12", "train.jsonl:17", "What is 2 + 3?"[:8], "gsm8k", "add 3 plus 4?", "a_b"]
MARKED = ["![i](http://x/y.png)", "<img src=x>", "**b**", "# x", "- x", "3. x", "`x`", "a | b",
          "2*3*4", "[l](javascript:x)", "~~x~~", "&lt;", "> x", "a\nb", "\\*"]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_plain_cells_stay_as_they_are(text):
    assert as_cells([{"a": text, "n": 3, "x": None}]) == [{"a": text, "n": 3, "x": None}]


@pytest.mark.parametrize("text", MARKED)
def test_cells_with_markup_are_code(text):
    (row,) = as_cells([{"a": text}])
    assert row["a"] == as_code(text)
    assert (row["a"][0], row["a"][-1], row["a"].count("`"), row["a"].count("\n")) == (
        "`",
        "`",
        2,
        0,
    )
