"""Rows as people have them: each read as its format means it, or rejected for one reason."""

from __future__ import annotations

import json

import pytest

from bids_core.data import prepare
from bids_core.data.formats import FORMATS, detect, read_row
from bids_core.data.rejects import RejectedRow
from bids_core.records import Message, ToolCall

ASKED = [Message("user", "Q"), Message("assistant", "A")]
TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
GOOD, BAD = {"role": "assistant", "content": "A"}, {"role": "assistant", "content": "B"}
VAL = [{"prompt": "Two and two?", "completion": "Four."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": "Q", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": TURNS[:1], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": TURNS[:1], "chosen": GOOD, "rejected": BAD},
        {"chosen": TURNS, "rejected": [TURNS[0], BAD]},
        {"prompt": "Q", "chosen": TURNS, "rejected": [TURNS[0], BAD], "messages": TURNS},
        {"chosen_messages": TURNS, "rejected_messages": [TURNS[0], BAD]},
        {"messages": TURNS[:1], "chosen": GOOD, "rejected": BAD},
        {"conversations": [{"from": "human", "value": "Q"}],
         "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}},
        {"instruction": "Q", "input": "", "chosen": "A", "rejected": "B"},
        {"question": "Q", "chosen": "A", "rejected": "B"},
        {"input": {"messages": TURNS[:1]}, "preferred_output": [GOOD],
         "non_preferred_output": [BAD]},
        {"prompt": json.dumps(TURNS[:1]), "chosen": json.dumps([GOOD]), "rejected": "B"},
    ],
)  # fmt: skip
def test_the_chosen_side_of_a_preference_is_learned(row):
    assert detect(row) == "preference"
    found = read_row(row)
    assert found.messages == ASKED
    assert found.notes == {"chosen-side"}
    assert not found.used & {"rejected", "rejected_messages", "non_preferred_output"}


def test_a_preference_with_system_and_several_questions():
    more = [{"role": "user", "content": "P"}, {"role": "assistant", "content": "O"}, TURNS[0]]
    row = {"system": "S", "prompt": more, "chosen": [GOOD], "rejected": [BAD]}
    assert [m.content for m in read_row(row).messages] == ["S", "P", "O", "Q", "A"]
    row = {
        "prompt": [{"role": "system", "content": "S"}, TURNS[0]],
        "chosen": TURNS,
        "rejected": [],
    }
    assert [m.content for m in read_row(row).messages] == ["S", "Q", "A"]
    goes_on = [GOOD, {"role": "user", "content": "More?"}, {"role": "assistant", "content": "C"}]
    row = {"prompt": "Q", "chosen": goes_on, "rejected": [BAD]}
    assert [m.content for m in read_row(row).messages] == ["Q", "A", "More?", "C"]


def test_a_preference_without_prompt_says_so():
    with pytest.raises(RejectedRow, match="'chosen' is text, but there is no 'prompt'"):
        read_row({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "B"})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "completion": "A", "label": False},
        {"prompt": TURNS[:1], "completion": TURNS[1:], "label": False},
        {"instruction": "Q", "input": "", "output": "A", "kto_tag": False},
        {"messages": TURNS, "label": False},
        {"prompt": "Q", "completion": "A", "label": "False"},  # from a CSV file
    ],
)
def test_an_answer_that_is_said_to_be_bad_is_rejected(row):
    with pytest.raises(RejectedRow) as caught:
        read_row(row)
    assert caught.value.reason == "negative-feedback"
    assert "mapping" in caught.value.detail
    kept = {k: v for k, v in row.items() if k not in ("label", "kto_tag")}
    for good in ({"label": True}, {"kto_tag": True}, {"label": 0}, {"label": "spam"}):
        assert read_row(kept | good).messages == ASKED


@pytest.mark.parametrize("column", ["images", "image", "videos", "audios", "audio"])
def test_rows_with_media_are_rejected(column):
    row = {"messages": TURNS, column: ["cat.png"]}
    with pytest.raises(RejectedRow, match=f"has '{column}'") as caught:
        read_row(row)
    assert caught.value.reason == "unsupported-content"
    assert read_row({"messages": TURNS, column: None}).messages == ASKED
    assert read_row({"messages": TURNS, column: []}).messages == ASKED


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"}, {"type": "image_url", "image_url": {"url": "x"}, "text": None},
        {"type": "input_audio", "input_audio": {}}, {"type": "image", "text": ""},
        {"type": "file", "file": {}}, {"type": "video", "value": "x.mp4"},
    ],
)  # fmt: skip
def test_parts_that_are_not_text(part):
    row = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}, part]}, GOOD]}
    with pytest.raises(RejectedRow, match=f"{part['type']}'?, but only text") as caught:
        read_row(row)
    assert caught.value.reason == "unsupported-content"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "A"}, {"type": "text", "value": "A"},
        {"type": "output_text", "text": "A"}, {"type": "input_text", "text": "A"},
        {"type": "text", "content": "A"}, {"text": "A"}, "A", {"type": "refusal", "refusal": "A"},
        {"type": "text", "text": "A", "image_url": None},
    ],
)  # fmt: skip
def test_every_spelling_of_a_text_part(part):
    assert read_row({"messages": [TURNS[0], GOOD | {"content": [part]}]}).messages == ASKED
    if isinstance(part, dict) and "type" in part:
        alone = {"messages": [TURNS[0], GOOD | {"content": part}]}
        assert read_row(alone).messages == ASKED


def test_parts_of_reasoning_and_tool_calls():
    parts = [
        {"type": "reasoning", "value": "Hm."},
        {"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
    ]
    found = read_row({"messages": [TURNS[0], {"role": "assistant", "content": parts}]})
    assert found.messages[1] == Message(
        "assistant", "", reasoning="Hm.", tool_calls=(ToolCall("f", '{"x": 1}'),)
    )


def test_alpacas_history_comes_first():
    row = {"instruction": "Q", "output": "A", "history": [["Q0", "A0"], ["Q1", "A1"]]}
    assert [m.content for m in read_row(row).messages] == ["Q0", "A0", "Q1", "A1", "Q", "A"]
    for blank in (None, []):
        assert read_row(row | {"history": blank}).messages == ASKED
    with pytest.raises(RejectedRow, match="'history' is"):
        read_row(row | {"history": ["Q0"]})


@pytest.mark.parametrize("nothing", [None, float("nan"), [], ""])
def test_columns_that_a_merge_filled_up_are_absent(nothing):
    row = {"messages": nothing, "conversations": nothing, "prompt": "Q", "completion": "A"}
    assert detect(row) == "prompt_completion"
    assert read_row(row).messages == ASKED
    row = {"chosen": nothing, "rejected": nothing, "messages": TURNS, "instruction": nothing}
    assert detect(row) == "messages"


def test_older_spellings_of_calls():
    row = {
        "functions": [{"name": "f", "parameters": {}}],
        "messages": [
            TURNS[0],
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "1"},
            GOOD,
        ],
    }
    found = read_row(row)
    assert found.messages[1].tool_calls == (ToolCall("f", "{}"),)
    assert found.messages[2] == Message("tool", "1", name="f")
    assert found.tools == [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def test_a_call_in_sharegpt_may_have_a_thought_and_be_several():
    value = '<think>Hm.</think>\n[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]'
    found = read_row({"conversations": [{"from": "human", "value": "Q"},
                                        {"from": "function_call", "value": value}]})  # fmt: skip
    assert found.messages[1] == Message(
        "assistant", "", reasoning="Hm.", tool_calls=(ToolCall("f"), ToolCall("g"))
    )


@pytest.mark.parametrize(
    "row",
    [
        {"tools": ["hammer"], "messages": TURNS},
        {"tools": "[{", "messages": TURNS},
        {"tools": 7, "messages": TURNS},
        {"messages": [TURNS[0], GOOD | {"tool_calls": [{"function": {"arguments": "{}"}}]}]},
        {"messages": [TURNS[0], GOOD | {"tool_calls": [{"name": "f", "arguments": "{x"}]}]},
        {"messages": [TURNS[0], GOOD | {"tool_calls": [{"name": "f", "arguments": [1]}]}]},
        {"conversations": [{"from": "human", "value": "Q"},
                           {"from": "function_call", "value": "f()"}]},
        {"conversations": [{"from": "human", "value": "Q"},
                           {"from": "function_call", "value": ""}]},
    ],
)  # fmt: skip
def test_tools_that_can_not_be_read(row):
    with pytest.raises(RejectedRow) as caught:
        read_row(row)
    assert caught.value.reason == "bad-tools"


def test_tools_that_the_system_turn_lists_are_not_listed_again():
    system = {"role": "system", "content": "Use <tools>[f]</tools>."}
    found = read_row({"tools": [{"name": "f"}], "messages": [system, *TURNS]})
    assert found.notes == {"tools-in-system"}
    assert found.tools is None
    assert "tools" in found.used  # nor exported: TRL would hand it to the template


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "yes", []])
def test_weights_that_are_none(value):
    with pytest.raises(RejectedRow, match="'weight' of a turn is") as caught:
        read_row({"messages": [TURNS[0], GOOD | {"weight": value}]})
    assert caught.value.reason == "wrong-type"


def test_parts_of_a_turn_can_not_be_masked():
    detail = [{"begin_offset": 0, "end_offset": 1, "train": False}]
    parts = [{"type": "text", "text": "A", "train": False}, {"type": "text", "text": "B"}]
    for turn in (GOOD | {"train_detail": detail}, GOOD | {"content": parts}):
        with pytest.raises(RejectedRow) as caught:
            read_row({"messages": [TURNS[0], turn]})
        assert caught.value.reason == "unsupported-weights"
    trained = [{"type": "text", "text": "A", "train": True}]
    assert read_row({"messages": [TURNS[0], GOOD | {"content": trained}]}).messages == ASKED


def test_a_user_turn_marked_for_learning_is_noted():
    found = read_row({"messages": [TURNS[0] | {"train": True}, GOOD]})
    assert found.notes == {"other-role-not-learned"}
    assert read_row({"messages": [TURNS[0] | {"loss_weight": 0.0}, GOOD]}).notes == set()


def test_every_format_has_words_and_reads_what_it_names():
    for name, form in FORMATS.items():
        assert form.name == name
        assert form.needs[0][0] in form.what


@pytest.fixture
def prepared(write, make_config, tokenizer, tmp_path):
    """Prepare pool rows; returns the data."""

    def _prepare(rows, *, source=None, **data):
        write("val.jsonl", VAL)
        name = write("pool.jsonl", rows)
        config = make_config([{"path": name} | (source or {})], **data)
        return prepare(config, tokenizer, base_dir=tmp_path)

    return _prepare


def test_further_columns_go_with_the_row(prepared):
    row = {"id": 7, "prompt": "Q", "chosen": "A", "rejected": "B", "language": "en", "n": 3,
           "meta": {"licence": "mit"}, "nothing": None}  # fmt: skip
    frame = prepared([row]).train.frame
    assert frame["row_id"].tolist() == ["7"]
    assert json.loads(frame["extra"][0]) == {
        "rejected": "B", "language": "en", "n": 3, "meta": {"licence": "mit"}
    }  # fmt: skip
    assert frame["notes"].tolist() == ["chosen-side"]
    mapped = prepared([row], source={"mapping": {"prompt": "prompt", "completion": "chosen"}})
    assert set(json.loads(mapped.train.frame["extra"][0])) == {"rejected", "language", "n", "meta"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3.0, "3"), (1.5, "1.5"), (7, "7"), ("x", "x"), (1e300, "1e+300")],
)
def test_ids_that_are_numbers(prepared, value, expected):
    assert prepared([{"id": value, "prompt": "Q", "completion": "A"}]).train.row_ids == [expected]


def test_ids_that_are_neither_text_nor_number_are_noted(prepared):
    rows = [{"id": ["x"], "prompt": "Q", "completion": "A"}, {"prompt": "P", "completion": "A"},
            {"id": None, "prompt": "O", "completion": "A"}]  # fmt: skip
    data = prepared(rows)
    assert data.train.row_ids == ["pool:1", "pool:2", "pool:3"]
    assert data.summary["notes"]["train"] == {"id-not-used": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_an_id_spelled_like_another_rows_default_costs_no_row(prepared, order):
    rows = [{"id": f"pool:{2 if order == 1 else 1}", "prompt": "Q", "completion": "A"},
            {"prompt": "P", "completion": "A"}][::order]  # fmt: skip
    data = prepared(rows)
    taken = 2 if order == 1 else 1
    assert data.train.row_ids == [f"pool:{taken}", f"pool:pool:{taken}"]
    assert not data.rejects


def test_system_turns_can_be_merged_and_turns_joined(prepared):
    rows = [
        {"messages": [{"role": "system", "content": "S"}, *TURNS]},
        {"messages": [{"role": "user", "content": "P"}, *TURNS, {"role": "assistant",
                                                                "content": "B"}]},
    ]  # fmt: skip
    kept = prepared(rows).train.frame["messages"].map(json.loads)
    assert [len(turns) for turns in kept] == [3, 4]
    changed = (
        prepared(rows, system="merge", join_turns=True).train.frame["messages"].map(json.loads)
    )
    assert changed[0] == [{"role": "user", "content": "S\n\nQ"}, TURNS[1]]
    assert changed[1] == [
        {"role": "user", "content": "P\n\nQ"}, {"role": "assistant", "content": "A\n\nB"}
    ]  # fmt: skip


def test_a_mark_for_an_image_is_no_text_but_a_tag_is(prepared):
    rows = [
        {"prompt": "<image>\nWhat is it?", "completion": "A cat."},
        {"prompt": "<video><source src='a'></video> Is it valid?", "completion": "Yes."},
        {"prompt": "How does LLaVA mark one?", "completion": "With <image>."},
    ]
    data = prepared(rows)
    assert data.train.row_ids == ["pool:2", "pool:3"]
    assert [reject.reason for reject in data.rejects] == ["unsupported-content"]


def test_a_mapping_names_the_weight_of_turns(prepared):
    turns = [TURNS[0], GOOD | {"keep": False}, TURNS[0], GOOD | {"keep": True}]
    plain = prepared([{"messages": turns}]).train.frame
    frame = prepared([{"messages": turns}], source={"mapping": {"weight": "keep"}}).train.frame
    assert frame["n_completion_tokens"][0] < plain["n_completion_tokens"][0]
    assert frame["notes"][0] == "weighted-turns"
    renamed = {"mapping": {"messages": "chat", "weight": "keep", "id": "key"}}
    again = prepared([{"chat": turns, "key": "k"}], source=renamed).train.frame
    assert again["labels"][0].tolist() == frame["labels"][0].tolist()
    assert again["extra"][0] is None


def test_tools_of_a_mapped_row(prepared, tokenizer, write, make_config, tmp_path):
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}
    row = {"chat": [TURNS[0], call], "spec": json.dumps([{"name": "f"}])}
    mapping = {"messages": "chat", "tools": "spec"}
    write("val.jsonl", VAL)
    config = make_config([{"path": write("p.jsonl", [row]), "mapping": mapping}])
    from template_families import family_tokenizer

    data = prepare(config, family_tokenizer(tokenizer, "qwen"), base_dir=tmp_path)
    assert json.loads(data.train.frame["tools"][0])[0]["function"] == {"name": "f"}
    assert data.train.frame["extra"][0] is None


def test_a_test_row_whose_answer_is_masked_is_rejected(write, make_config, tokenizer, tmp_path):
    write("val.jsonl", VAL)
    rows = [{"messages": [TURNS[0], GOOD | {"weight": 0}]}, {"messages": TURNS}]
    test = write("test.jsonl", rows)
    pool = write("p.jsonl", [{"prompt": "Q", "completion": "A"}])
    data = prepare(make_config([pool], test=[test]), tokenizer, base_dir=tmp_path)
    assert len(data.test) == 1
    assert [reject.reason for reject in data.rejects] == ["nothing-to-learn"]


def test_prepared_data_with_all_of_it_survives_saving(prepared, tmp_path):
    from bids_core.data import PreparedData

    rows = [
        {"messages": [TURNS[0], GOOD | {"weight": 0.5}], "language": "en"},
        {"prompt": "P", "completion": "A\u2028B"},
    ]
    data = prepared(rows)
    data.save(tmp_path / "saved")
    loaded = PreparedData.load(tmp_path / "saved")
    assert loaded.train.frame["extra"].tolist() == data.train.frame["extra"].tolist()
    for one, other in zip(data.train.examples(), loaded.train.examples(), strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        if one.weights is None:
            assert other.weights is None
        else:
            assert one.weights.tolist() == other.weights.tolist()
    assert loaded.train.examples()[0].weights is not None
