"""docs/data.md says what is so: its matrix is tried cell by cell, its lists are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from template_families import family_tokenizer

from bids_core.data import FORMATS, NOTES, REASONS
from bids_core.data.formats import detect, read_row
from bids_core.data.rejects import RejectedRow
from bids_core.data.tokenization import tokenize_examples
from bids_core.records import IGNORED_LABEL, Example

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
CALL = {"name": "look", "arguments": {"x": 1}}
TOOLS = [{"name": "look", "parameters": {}}]
ASK, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
PLAIN = {
    "preference": {"prompt": "Q", "chosen": "A", "rejected": "B"},
    "messages": {"messages": [ASK, ANSWER]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    "alpaca": {"instruction": "Q", "output": "A"},
    "prompt_completion": {"prompt": "Q", "completion": "A"},
    "question_answer": {"question": "Q", "answer": "A"},
}


def table(first_cell):
    """Return a table of the page: the cells of the row that begins so -> rows behind it."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first_cell))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[0], rows[2:]


HEAD, ROWS = table("| | system")
CELLS = [
    (row[0].strip("`"), column, cell)
    for row in ROWS
    for column, cell in zip(HEAD[1:], row[1:], strict=True)
]


def with_answer(form, turn):
    """Return a row of a format that has turns, with another answer."""
    if form == "preference":
        return {"prompt": [ASK], "chosen": [turn], "rejected": [ANSWER]}
    if form == "messages":
        return {"messages": [ASK, turn]}
    if form == "sharegpt":
        told = {"from": "gpt", "value": turn["content"]}
        rest = {key: value for key, value in turn.items() if key not in ("role", "content")}
        return {"conversations": [{"from": "human", "value": "Q"}, told | rest]}
    assert form == "prompt_completion"
    return {"prompt": [ASK], "completion": [turn]}


@pytest.fixture(scope="module")
def learned(tokenizer):
    model = family_tokenizer(tokenizer, "qwen")

    def _learned(row):
        found = read_row(row)
        tools = None if found.tools is None else json.dumps(found.tools)
        example = Example("r", "s", tuple(found.messages), "f:1", tools=tools)
        (result,) = tokenize_examples([example], model, 1000)
        if isinstance(result, RejectedRow):
            return result.reason, ""
        labels = result.example.labels
        text = model.decode(labels[labels != IGNORED_LABEL])
        return text, model.decode(result.example.input_ids)

    return _learned


def test_the_matrix_has_every_format():
    assert [row[0].strip("`") for row in ROWS] == list(FORMATS)
    _, rows = table("| format | fields")
    assert [row[0].strip("`") for row in rows] == list(FORMATS)


@pytest.mark.parametrize(("form", "column", "cell"), CELLS)
def test_a_cell_of_the_matrix(learned, form, column, cell):
    row = PLAIN[form]
    assert detect(row) == form
    if column == "system":
        assert cell == "shown"
        assert "Be brief." in learned(row | {"system": "Be brief."})[1]
    elif column == "tools, calls":
        shown, call = cell.split(", ")
        assert shown == "shown"
        assert '"name": "look"' in learned(row | {"tools": TOOLS})[1]
        if call == "learned":
            turn = {"role": "assistant", "content": "", "tool_calls": [CALL]}
            assert '"arguments": {"x": 1}' in learned(with_answer(form, turn) | {"tools": TOOLS})[0]
    elif column == "reasoning apart" and cell == "learned":
        assert "Because." in learned(with_answer(form, ANSWER | {"thinking": "Because."}))[0]
    elif column == "marked turns" and cell == "obeyed":
        assert learned(with_answer(form, ANSWER | {"train": False}))[0] == "nothing-to-learn"
    elif column == "images":
        assert cell == "rejected"
        with pytest.raises(RejectedRow, match="images"):
            read_row(row | {"images": ["x.png"]})
    elif column == "`label: false`":
        assert cell == "rejected"
        with pytest.raises(RejectedRow, match="negative-feedback"):
            read_row(row | {"label": False})
    elif column == "null columns":
        assert cell == "absent"
        nulls = {name: None for other in PLAIN.values() for name in other if name not in row}
        assert detect(nulls | row) == form
        assert read_row(nulls | row).messages == read_row(row).messages
    elif column == "further columns":
        assert cell == "exported"
        assert "licence" not in read_row(row | {"licence": "mit"}).used
    else:
        assert cell == "no place"
        assert form in ("alpaca", "question_answer")


@pytest.mark.parametrize(("heading", "codes"), [("## Rejects", REASONS), ("## Notes", NOTES)])
def test_the_lists_are_those_of_the_code(heading, codes):
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    written = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", section, re.MULTILINE))
    assert written == codes
