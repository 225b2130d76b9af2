"""A file of 500 rows of many shapes: every row is accounted for, and learned as it says, or not."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from template_families import family_tokenizer

from bids_core.data import NOTES, REASONS, prepare
from bids_core.records import IGNORED_LABEL

CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
SHOWN = '<tool_call>\n{"name": "look", "arguments": {"x": 1}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


def chat(n, answer, **more):
    return {"messages": [{"role": "user", "content": f"Q{n}"},
                         {"role": "assistant", "content": answer, **more}]}  # fmt: skip


# row number -> (row or line, text that is learned, or the reason of the reject)
SHAPES = [
    lambda n: (chat(n, f"A{n}"), f"A{n}"),
    lambda n: ({"prompt": f"Q{n}", "completion": f"A{n}"}, f"A{n}"),
    lambda n: ({"instruction": f"Q{n}", "input": "i", "output": f"A{n}",
                "messages": None}, f"A{n}"),
    lambda n: ({"question": f"Q{n}", "answer": f"A{n}", "licence": "mit"}, f"A{n}"),
    lambda n: ({"conversations": [{"from": "human", "value": f"Q{n}"},
                                  {"from": "gpt", "value": f"A{n}"}]}, f"A{n}"),
    lambda n: ({"prompt": f"Q{n}", "chosen": f"A{n}", "rejected": "bad"}, f"A{n}"),
    lambda n: ({"prompt": f"Q{n}", "completion": f"A{n}", "label": True}, f"A{n}"),
    lambda n: ({"prompt": f"Q{n}", "completion": f"A{n}", "label": False}, "negative-feedback"),
    lambda n: (chat(n, None, tool_calls=[CALL]) | {"tools": TOOLS}, SHOWN),
    lambda n: (chat(n, f"A{n}", weight=0), "nothing-to-learn"),
    lambda n: (chat(n, f"A{n}", weight=0.5), f"A{n}"),
    lambda n: (chat(n, f"A{n}", train=False), "nothing-to-learn"),
    lambda n: (chat(n, f"A{n}", reasoning_content=f"R{n}"), f"<think>\nR{n}\n</think>\n\nA{n}"),
    lambda n: (chat(n, f"<think>R{n}</think>A{n}"), f"<think>\nR{n}\n</think>\n\nA{n}"),
    lambda n: (chat(n, [{"type": "text", "value": f"A{n}"}]), f"A{n}"),
    lambda n: (chat(n, [{"type": "image"}]), "unsupported-content"),
    lambda n: (chat(n, f"A{n}") | {"images": ["x.png"]}, "unsupported-content"),
    lambda n: ({"prompt": f"<image>Q{n}", "completion": "A"}, "unsupported-content"),
    lambda n: (chat(n, ""), "empty-completion"),
    lambda n: ({"prompt": " ", "completion": "A"}, "empty-prompt"),
    lambda n: ({"text": f"T{n}"}, "missing-field"),
    lambda n: ({"prompt": f"Q{n}"}, "missing-field"),
    lambda n: ("{broken", "malformed-json"),
    lambda n: ("[1, 2]", "not-an-object"),
    lambda n: ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown-role"),
    lambda n: ({"messages": "hello"}, "wrong-type"),
    lambda n: ({"messages": [{"role": "user", "content": "Q"}]}, "no-assistant-turn"),
    lambda n: (chat(n, f"A{n}") | {"tools": "{"}, "bad-tools"),
    lambda n: (chat(n, "<|im_end|> ends it"), "<|im_end|> ends it"),
    lambda n: ({"prompt": f"Q{n} " * 400, "completion": "A"}, "completion-truncated"),
    lambda n: ({"prompt": "a\u0000b", "completion": "A"}, "null-bytes"),
    lambda n: ({"instruction": f"Q{n}", "output": f"A{n}",
                "history": [["P", "O"]]}, f"O<|im_end|>A{n}"),
    lambda n: ({"id": "same", "prompt": f"Q{n}", "completion": f"A{n}"}, f"A{n}"),
    lambda n: (chat(n, f"A{n}", train_detail=[{"train": True}]), "unsupported-weights"),
]  # fmt: skip


@pytest.fixture(scope="module")
def messy(tokenizer, tmp_path_factory):
    from bids_core.config import RunConfig

    folder = tmp_path_factory.mktemp("messy")
    order = np.random.default_rng(0).integers(0, len(SHAPES), 500).tolist()
    made = [SHAPES[shape](n) for n, shape in enumerate(order)]
    lines = [row if isinstance(row, str) else json.dumps(row) for row, _ in made]
    (folder / "messy.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "val.jsonl").write_text('{"prompt": "Two?", "completion": "2"}\n', encoding="utf-8")
    config = RunConfig.model_validate({
        "model": {"path": "unused"},
        "pool": [{"path": "messy.jsonl"}],
        "validation": [{"path": "val.jsonl", "task": "t", "capability": "c"}],
        "data": {"max_length": 400},
    })  # fmt: skip
    model = family_tokenizer(tokenizer, "qwen")
    return prepare(config, model, base_dir=folder), made, model


def test_every_row_is_learned_as_it_says_or_rejected_for_its_reason(messy):
    data, made, tokenizer = messy
    kept = {int(r["location"].rpartition(":")[2]): r for r in data.train.frame.to_dict("records")}
    rejected = {int(r.location.rpartition(":")[2]): r for r in data.rejects}
    assert sorted([*kept, *rejected]) == list(range(1, 501))
    same = 0
    for number, (row, expected) in enumerate(made, start=1):
        if isinstance(row, dict) and row.get("id") == "same":
            same += 1
            expected = expected if same == 1 else "duplicate-id"
        if expected in REASONS:
            assert rejected[number].reason == expected, row
            assert rejected[number].detail
            continue
        labels = kept[number]["labels"]
        learned = tokenizer.decode(labels[labels != IGNORED_LABEL])
        assert learned == f"{expected}<|im_end|>", row
        assert (kept[number]["weights"] is not None) == ("0.5" in json.dumps(row))
    assert same > 1


def test_the_counts_add_up(messy):
    data, _, _ = messy
    (pool, _) = data.summary["sources"]
    assert pool["read"] == 500 == pool["kept"] + pool["rejected"]
    assert pool["kept"] == len(data.train)
    assert sum(data.summary["rejects"]["train"].values()) == pool["rejected"]
    notes = data.summary["notes"]["train"]
    assert set(notes) <= set(NOTES)
    stored = Counter(n for notes in data.train.frame["notes"] for n in (notes or "").split())
    assert notes == {name: stored[name] for name in notes}
    assert sum(data.summary["formats"]["train"].values()) == len(data.train)
