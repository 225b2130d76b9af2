"""Texts packed into the page, cut only as far as they must be; tables that turn."""

import base64
import json
import zlib

import numpy as np
import pytest

from bids_core.report.grids import Grid, GridLine, Title, method_grid
from bids_core.report.names import method_looks
from bids_core.report.packed import BLOCK, packed, text_blocks, whole_texts


def unpacked(text):
    return json.loads(zlib.decompress(base64.b64decode(text), wbits=-15))


def texts(count, length):
    random = np.random.default_rng(0)
    letters = random.integers(97, 123, size=(count, length)).astype(np.uint8)
    return [[("user", "ask"), ("assistant", row.tobytes().decode())] for row in letters]


def test_what_is_packed_comes_back():
    value = {"a": [1, None, "\N{SNOWMAN} </script>"], "b": -0.5}
    assert unpacked(packed(value)) == value
    assert "<" not in packed(value)
    unpacked(packed("\ud800"))  # half a pair, as broken JSON has it: replaced, not an error


def test_texts_stay_whole_while_they_fit():
    given = [*texts(BLOCK + 3, 50), None]
    blocks, cap = text_blocks(given, budget=10**6)
    assert cap is None
    rows = [row for block in blocks for row in unpacked(block)]
    assert rows[0] == [0, "user", "ask", "assistant", given[0][1][1]]
    assert rows[-1] is None
    assert len(rows) == len(given)
    assert text_blocks([], budget=0) == ([], None)


@pytest.mark.parametrize("budget", [200_000, 60_000, 12_000])
def test_texts_are_cut_to_the_budget_and_say_by_how_much(budget):
    given = texts(3 * BLOCK, 2000)
    blocks, cap = text_blocks(given, budget=budget)
    assert sum(map(len, blocks)) <= budget
    row = unpacked(blocks[0])[0]
    assert row[0] == 2003 - len(row[2]) - len(row[4])
    assert len(row[2]) + len(row[4]) <= cap
    whole = whole_texts(given, [cap] * len(given))
    assert unpacked(whole[0])[5][4] == given[5][1][1]
    assert whole_texts(given, [None] * len(given)) == {}


def cells(*values):
    return [{"value": str(value), "error": "", "best": False} for value in values]


def test_more_than_four_methods_have_a_line_each_and_averages_first():
    lines = [GridLine(Title("sums"), cells(*range(6))), GridLine(Title("quiz"), cells(*range(6)))]
    totals = [GridLine(Title("average"), cells(*range(10, 16)))]
    plain = GridLine(Title("most frequent"), cells("a", "b", "c"))
    for count, corner, names in (
        (4, "Task", ["sums", "quiz"]), (6, "Method", ["BIDS", "LESS", "random"])
    ):  # fmt: skip
        methods = ["bids", "less", "random", "sum", "quota", "dsir"][:count]
        part = [GridLine(line.title, line.cells[:count]) for line in lines]
        total = [GridLine(line.title, line.cells[:count]) for line in totals]
        grid = method_grid(
            methods, method_looks(methods), caption="", lines=part, totals=total, plain=plain
        )
        assert grid.corner == corner
        assert [line.title.name for line in grid.lines][:3] == names
    assert [title.name for title in grid.columns] == ["average", "sums", "quiz"]
    assert [cell["value"] for cell in grid.lines[1].cells] == ["11", "1", "1"]
    assert [cell["value"] for cell in grid.totals[0].cells] == ["c", "a", "b"]


def test_titles_are_turned_where_they_would_not_fit():
    def grid(names):
        return Grid(caption="", corner="", columns=[Title(name) for name in names], lines=[])

    assert not grid(["chain_sum", "gcd", "spell_backward"]).turned
    assert grid([f"task_{i}_of_instructions" for i in range(12)]).turned
    assert not grid(["family_relationships"] * 5).turned  # they break at the underscore
