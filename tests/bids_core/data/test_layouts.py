"""Other tools' descriptions of data as a source: LLaMA-Factory's and axolotl's."""

from __future__ import annotations

import json

import pytest
import yaml

from bids_core.data import prepare
from bids_core.data.sources import find_sources, input_digests
from bids_core.errors import ConfigError, DataError

ALPACA = {"q": "Add.", "x": "1 2", "a": "3", "sys": "S", "past": [["Q0", "A0"]], "input": "no"}
SHARED = {
    "chat": [{"who": "H", "text": "Q"}, {"who": "M", "text": "A"}],
    "sys": "S",
    "tools": "not named, so not read",
}
INFO = {
    "sums": {
        "file_name": "sums.json",
        "columns": {"prompt": "q", "query": "x", "response": "a", "system": "sys",
                    "history": "past"},
    },
    "chats": {
        "file_name": "chats.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "chat", "system": "sys"},
        "tags": {"role_tag": "who", "content_tag": "text", "user_tag": "H", "assistant_tag": "M"},
        "num_samples": 1,
    },
    "plain": {"file_name": "plain.json"},
    "pairs": {
        "file_name": "pairs.json",
        "ranking": True,
        "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    },
    "judged": {
        "file_name": "judged.json",
        "columns": {"prompt": "q", "response": "a", "kto_tag": "liked"},
    },
    "openai": {
        "file_name": "openai.jsonl",
        "formatting": "openai",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",
                 "assistant_tag": "assistant", "system_tag": "system"},
    },
    "away": {"hf_hub_url": "org/data", "subset": "en"},
    "script": {"script_url": "x"},
    "odd": {"file_name": "x.json", "formatting": "parquet"},
    "typo": {"file_name": "x.json", "columns": {"promt": "q"}},
}  # fmt: skip


@pytest.fixture
def project(write, make_config, tokenizer, tmp_path):
    """Write files; returns a function that prepares the pool of an entry."""
    write("val.jsonl", [{"prompt": "Two and two?", "completion": "Four."}])
    write("lf/dataset_info.json", json.dumps(INFO))
    write("lf/sums.json", json.dumps([ALPACA]))
    write("lf/chats.jsonl", [SHARED, SHARED])
    write("lf/plain.json", json.dumps([{"instruction": "Q", "input": "", "output": "A",
                                        "history": [["Q0", "A0"]]}]))  # fmt: skip
    write("lf/pairs.json", json.dumps([{"q": "Q", "good": "A", "bad": "B"}]))
    judged = [{"q": "Q", "a": "A", "liked": True}, {"q": "Q", "a": "A", "liked": False}]
    write("lf/judged.json", json.dumps(judged))
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    write("lf/openai.jsonl", [{"messages": turns}])

    def _prepare(source, **data):
        return prepare(make_config([source], **data), tokenizer, base_dir=tmp_path)

    return _prepare


def said(data):
    return [
        [(turn["role"], turn["content"]) for turn in json.loads(messages)]
        for messages in data.train.frame["messages"]
    ]


PLAIN = [("user", "Q"), ("assistant", "A")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sums", [[("system", "S"), ("user", "Q0"), ("assistant", "A0"),
                   ("user", "Add.\n\n1 2"), ("assistant", "3")]]),
        ("chats", [[("system", "S"), *PLAIN]]),
        ("plain", [PLAIN]),  # the history is not named, so LLaMA-Factory does not read it
        ("pairs", [PLAIN]),
        ("judged", [PLAIN]),
        ("openai", [PLAIN]),
        ("chats, plain", [[("system", "S"), *PLAIN], PLAIN]),
    ],
)  # fmt: skip
def test_entries_of_llama_factory(project, name, expected):
    data = project({"path": "lf/dataset_info.json", "dataset": name})
    assert said(data) == expected
    assert data.train.frame["source"].unique().tolist() == name.split(", ")
    if name == "pairs":
        assert json.loads(data.train.frame["extra"][0]) == {"rejected": "B"}
    if name == "judged":
        assert [reject.reason for reject in data.rejects] == ["negative-feedback"]
    if name == "sums":
        assert json.loads(data.train.frame["extra"][0]) == {"_input": "no"}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "describes several datasets; set `dataset` to one of: sums, chats"),
        ({"dataset": "sum"}, "has no entry 'sum'; it has: sums"),
        ({"dataset": "script"}, "needs a script; download"),
        ({"dataset": "odd"}, "formatting 'parquet'"),
        ({"dataset": "typo"}, "the column 'promt'"),
    ],
)
def test_entries_that_do_not_work(project, entry, words):
    with pytest.raises(ConfigError, match=words):
        project({"path": "lf/dataset_info.json"} | entry)


def test_a_hub_entry_names_the_hub(make_config, project, tmp_path):
    config = make_config([{"path": "lf/dataset_info.json", "dataset": "away"}])
    (source, _) = find_sources(config, tmp_path)
    assert source.dataset == "hf:org/data:en"
    assert source.config.split == "train"


def test_a_broken_description_and_a_stray_dataset(project, write):
    write("bad/dataset_info.json", "{")
    with pytest.raises(DataError, match="cannot be read"):
        project({"path": "bad/dataset_info.json"})
    with pytest.raises(ConfigError, match="remove it"):
        project({"path": "lf/openai.jsonl", "dataset": "x"})


def test_the_description_is_part_of_the_identity(make_config, project, write, tmp_path):
    def digest():
        config = make_config([{"path": "lf/dataset_info.json", "dataset": "chats"}])
        return input_digests(config, tmp_path)["pool"]

    before = digest()
    assert digest() == before
    INFO["chats"]["columns"]["system"] = "other"
    write("lf/dataset_info.json", json.dumps(INFO))
    INFO["chats"]["columns"]["system"] = "sys"
    assert digest() != before


def axolotl(*entries, **more):
    return yaml.safe_dump({"base_model": "x", "datasets": list(entries)} | more)


CHATS = {"path": "chats.jsonl", "type": "chat_template"}


@pytest.mark.parametrize(
    ("row", "entry", "expected"),
    [
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
         {}, PLAIN),
        ({"talk": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
         {"field_messages": "talk", "message_property_mappings": {"role": "from",
                                                                  "content": "value"}}, PLAIN),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
         {"type": "sharegpt"}, PLAIN),
        ({"messages": [{"role": "ask", "content": "Q"}, {"role": "tell", "content": "A"}]},
         {"roles": {"user": ["ask"], "assistant": ["tell"]}}, PLAIN),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
          "sys": "S"}, {"field_system": "sys"}, [("system", "S"), *PLAIN]),
        ({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"},
                       {"role": "assistant", "content": "A"}]},
         {"drop_system_message": True}, PLAIN),
        ({"instruction": "Q", "input": "", "output": "A"}, {"type": "alpaca"}, PLAIN),
        ({"ask": "Q", "tell": "A"},
         {"type": {"field_instruction": "ask", "field_output": "tell", "system_prompt": "S"}},
         [("system", "S"), *PLAIN]),
    ],
)  # fmt: skip
def test_entries_of_axolotl(project, write, row, entry, expected):
    write("ax/config.yaml", axolotl(CHATS | entry))
    write("ax/chats.jsonl", [row])
    data = project("ax/config.yaml")
    assert said(data) == [expected]
    assert data.train.frame["source"].tolist() == ["chats-0"]
    assert data.train.frame["extra"][0] is None


def test_marks_of_axolotl_decide_what_is_learned(project, write):
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "keep": False},
             {"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}]  # fmt: skip
    write("ax/chats.jsonl", [{"messages": turns}])
    learned = {}
    for name, entry in {
        "marks": {"message_field_training": "keep"},
        "none": {},
        "marked alone": {"message_field_training": "keep", "roles_to_train": []},
    }.items():
        turns[3]["keep"] = True if name == "marked alone" else None
        write("ax/chats.jsonl", [{"messages": turns}])
        write("ax/config.yaml", axolotl(CHATS | entry))
        learned[name] = int(project("ax/config.yaml").train.frame["n_completion_tokens"][0])
    assert learned["none"] == 2 * learned["marks"]
    assert learned["marked alone"] == learned["marks"]
    del turns[3]["keep"]
    write("ax/chats.jsonl", [{"messages": turns}])
    with pytest.raises(DataError, match="nothing-to-learn"):
        project("ax/config.yaml")  # no turn is marked, and only marked ones are learned


def test_entries_of_axolotl_are_chosen_by_number(project, write):
    write("ax/config.yml", axolotl(CHATS, {"path": "more.jsonl", "type": "alpaca"}))
    write("ax/chats.jsonl", [{"messages": [{"role": "user", "content": "Q"},
                                           {"role": "assistant", "content": "A"}]}])  # fmt: skip
    write("ax/more.jsonl", [{"instruction": "P", "output": "A"}])
    assert len(project("ax/config.yml").train) == 2
    assert said(project({"path": "ax/config.yml", "dataset": "1"}))[0][0] == ("user", "P")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        project({"path": "ax/config.yml", "dataset": "2"})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "completion"}, "type 'completion'"),
        ({"roles_to_train": ["user"]}, "only the assistant's turns"),
        ({"roles_to_train": None}, "data.learn: last"),
        ({"train_on_eos": "none"}, "train_on_eos: none"),
        ({"shards": 3}, "sets 'shards'"),
        ({"type": {"format": "### {instruction}"}}, "has a format"),
        ({"path": None}, "has no `path`"),
        ({"data_files": ["a", "b"]}, "several data_files"),
    ],
)
def test_what_axolotl_can_and_we_can_not(project, write, entry, words):
    write("ax/chats.jsonl", [])
    text = axolotl(CHATS | entry)
    write("ax/config.yaml", text)
    with pytest.raises(ConfigError, match=words):
        project("ax/config.yaml")


def test_an_axolotl_file_without_datasets(project, write):
    write("ax/config.yaml", "base_model: x\n")
    with pytest.raises(ConfigError, match="no `datasets:` list"):
        project("ax/config.yaml")
