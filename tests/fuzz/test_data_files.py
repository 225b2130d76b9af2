# ruff: noqa: E501 - rows in one line
"""Damaged data files, rows of wrong types: every row is accounted for, every error is one line."""

from __future__ import annotations

import gzip
import json
import shutil

import pandas as pd
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import TIMES, damaged, one_line, seeds

from bids_core.config import RunConfig
from bids_core.data.ingest import ingest
from bids_core.data.rejects import RejectedRow
from bids_core.data.sources import find_sources
from bids_core.data.tokenization import tokenize_examples

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q <|im_end|>"},
         {"role": "assistant", "content": "A", "weight": 1}]  # fmt: skip
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}}}}  # fmt: skip
ROWS = [
    {"messages": TURNS, "id": "m1"},
    {"messages": [TURNS[1], CALL, {"role": "tool", "content": "7", "tool_call_id": "1"}, TURNS[2]],
     "tools": [TOOL]},
    {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    {"instruction": "Do it", "input": "this", "output": "done", "history": [["q", "a"]]},
    {"prompt": "Q", "completion": "A", "system": "S", "licence": "CC"},
    {"question": "Q?", "answer": "42", "id": 7},
    {"prompt": "Q", "chosen": "good", "rejected": "bad", "label": True},
]  # fmt: skip
FLAT = [{"prompt": f'Q{i}, "quoted"', "completion": "A\nB"} for i in range(5)]


def files():
    """Name and bytes of one good file of each kind."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    table = pd.DataFrame(FLAT)
    found = {
        "x.jsonl": lines,
        "x.json": json.dumps(ROWS).encode(),
        "x.csv": table.to_csv(index=False).encode(),
        "x.tsv": table.to_csv(index=False, sep="\t").encode(),
        "x.parquet": table.to_parquet(),
        "nested.parquet": pd.DataFrame([{"messages": TURNS}] * 3).to_parquet(),
        "x.jsonl.gz": gzip.compress(lines, mtime=0),
        "x.jsonl.zst": zstandard.compress(lines),
        "x.csv.gz": gzip.compress(table.to_csv(index=False).encode(), mtime=0),
    }
    return [pytest.param(name, data, id=name) for name, data in found.items()]


def read_all(folder, path, tokenizer, case, **options):
    """Read a pool file as a run does, up to the tokens; returns how many rows were kept."""
    (folder / "val.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    config = RunConfig.model_validate({
        "model": {"path": "unused"},
        "pool": [{"path": path, "limits": {"row_bytes": 1 << 16, "ratio": 50}} | options],
        "validation": [{"path": "val.jsonl", "task": "t", "capability": "c"}],
    })  # fmt: skip
    kept = 0
    with one_line(case):
        source = find_sources(config, folder)[0]
        result = ingest([source])
        (account,) = result.accounts
        assert account.read == account.kept + account.rejected + account.skipped + account.cut
        assert (len(result.examples), len(result.rejects)) == (account.kept, account.rejected)
        for reject in result.rejects:
            assert 0 < len(reject.detail) < 2000, case
            assert "\n" not in reject.detail, case
        tokens = list(tokenize_examples(result.examples, tokenizer, 256))
        assert len(tokens) == account.kept
        kept = sum(not isinstance(one, RejectedRow) for one in tokens)
    return kept


@pytest.mark.parametrize(("name", "data"), files())
def test_damaged_files(tmp_path, tokenizer, name, data):
    (tmp_path / name).write_bytes(data)
    assert read_all(tmp_path, name, tokenizer, name)
    for seed in seeds(60):
        (tmp_path / name).write_bytes(damaged(data, seed))
        read_all(tmp_path, name, tokenizer, f"{name}, seed {seed}")


def test_damaged_data_set_folders(tmp_path, tokenizer):
    import datasets

    datasets.Dataset.from_list([{"messages": TURNS}] * 3).save_to_disk(tmp_path / "good")
    names = sorted(path.name for path in (tmp_path / "good").iterdir())
    for seed in seeds(40):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "good", folder)
        file = folder / names[seed % len(names)]
        file.write_bytes(damaged(file.read_bytes(), seed))
        read_all(tmp_path, "bad", tokenizer, f"{file.name}, seed {seed}")


NAMES = st.sampled_from([
    "role", "content", "from", "value", "messages", "conversations", "prompt", "completion", "id",
    "instruction", "input", "output", "question", "answer", "chosen", "rejected", "tools", "system",
    "history", "weight", "train", "tool_calls", "function", "name", "arguments", "type", "text",
    "label", "reasoning_content", "thinking", "tool_call_id", "functions", "images", "x",
])  # fmt: skip
TEXTS = st.sampled_from([
    "", " ", "user", "assistant", "tool", "system", "Q", "\ud800", "\x00", "{", '{"a": 1}', "[]",
    "<|im_end|>", "<think>a</think>b", "</think>", "human", "gpt", "9" * 5000, "text", "\ue0a0",
]) | st.text(max_size=8)  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@st.composite
def nearly_right_rows(draw):
    """A good row, some of whose values are of another type."""
    row = json.loads(json.dumps(draw(st.sampled_from(ROWS))))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = row, draw(st.sampled_from(sorted(row)))
        for _ in range(draw(st.integers(0, 4))):
            inner = holder[key]
            if isinstance(inner, dict) and inner:
                holder, key = inner, draw(st.sampled_from(sorted(inner)))
            elif isinstance(inner, list) and inner:
                holder, key = inner, draw(st.integers(0, len(inner) - 1))
        holder[key] = draw(VALUES)
    return row


@settings(
    max_examples=250 * TIMES, derandomize=TIMES == 1, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(rows=st.lists(nearly_right_rows() | VALUES, min_size=1, max_size=4), chat=st.booleans())
@example(rows=[{"messages": [{"role": "user", "content": "\ud800"}]}], chat=True)
def test_rows_of_wrong_types(tmp_path_factory, tokenizer, rows, chat):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mapping = {"prompt": "{{ prompt | upper }}", "completion": "{{ messages[0].content ~ 'x' }}"}
    read_all(folder, "x.jsonl", tokenizer, str(rows), **({} if chat else {"mapping": mapping}))
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["dataset_info.json", "axolotl.yaml"])
def test_damaged_descriptions_of_other_tools(tmp_path, tokenizer, kind):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    infos = {"x": {"file_name": "x.jsonl", "formatting": "sharegpt",
                   "columns": {"messages": "conversations", "tools": "tools"},
                   "tags": {"role_tag": "from", "user_tag": "human"}, "num_samples": 3}}  # fmt: skip
    entries = {"datasets": [
        {"path": "x.jsonl", "type": "chat_template", "roles_to_train": ["assistant"],
         "field_messages": "messages", "message_property_mappings": {"role": "role"},
         "roles": {"user": ["human"]}, "train_on_eos": "turn"},
        {"path": "x.jsonl", "type": {"field_instruction": "instruction", "field_output": "output"}},
    ]}  # fmt: skip
    good = json.dumps(infos if kind.endswith("json") else entries, indent=1).encode()
    for seed in seeds(120):
        (tmp_path / kind).write_bytes(damaged(good, seed))
        read_all(tmp_path, kind, tokenizer, f"{kind}, seed {seed}")


BOMBS = {
    "dataset_info.json": ["[" * 100_000, '{"x": {"file_name": 3}}', '{"x": {"file_name": "y", "columns": 3}}'],
    "axolotl.yaml": ["a: &a [*a]", "datasets: [{path: 3}]", "datasets: [{path: x, type: alpaca, data_files: 3}]",
                     "datasets: [{path: x.jsonl, type: chat_template, message_property_mappings: {role: {a: b}}}]",
                     "datasets: [{path: x.jsonl, type: sharegpt, roles: [a]}]"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, ts in BOMBS.items() for t in ts])
def test_descriptions_that_were_found_to_be_trouble(tmp_path, tokenizer, name, text):
    (tmp_path / name).write_text(text)
    read_all(tmp_path, name, tokenizer, text[:60])
