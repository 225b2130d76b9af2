"""The stage on its own, without a server: judged tasks and a suite, what is cached, what is not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bids_core.config.load import load_config

pytest.importorskip("langdetect")


@pytest.fixture
def project(tmp_path, tokenizer, monkeypatch):
    from conftest import build_llama
    from tiny_project import write_project

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    build_llama(len(tokenizer), max_position_embeddings=8192).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    config = write_project(tmp_path, tmp_path / "model")
    path = Path(__file__).parents[1] / "bids_core" / "evaluation" / "suites" / "suite_data.py"
    spec = importlib.util.spec_from_file_location("suite_data", path)
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    helpers.write_clones(tmp_path / "clones")
    rows = "".join(json.dumps(row) + "\n" for row in helpers.INSTRUCTIONS)
    (tmp_path / "test" / "ifeval.jsonl").write_text(rows)
    (tmp_path / "scorers.py").write_text("def judge(generation, row):\n    return 0.25\n")
    config["test"][0] |= {"metric": "generation", "scorer": "scorers.py:judge", "stop": ["\n"]}
    config["test"].append(
        {"task": "words", "capability": "following", "path": "test/ifeval.jsonl",
         "metric": "ifeval", "max_new_tokens": 4, "mapping": {"prompt": "prompt"}}
    )  # fmt: skip
    config["evaluation"] = {
        "suites": ["bids7"], "suite_tasks": ["ifeval"], "suite_data": "clones", "suite_limit": 2,
        "chat_prompts": True, "model_args": {"max_gen_toks": 4},
    }  # fmt: skip
    (tmp_path / "bids.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def evaluate(project, *changes):
    """Run prepare and evaluation; returns the handle and whether it was computed."""
    from bids_core.models.load import load_tokenizer
    from tasks.evaluation import run_evaluation
    from tasks.evaluation_checks import check_evaluation
    from tasks.prepare import load_prepared, prepare_data

    config = load_config(project / "bids.yaml", changes)
    data = prepare_data.fn(config).data
    tokenizer = load_tokenizer(config.model, config.data.template_args)
    check_evaluation(config, load_prepared(data), tokenizer)
    state = run_evaluation.fn(config, data, None, "zero_shot")
    return state.data, state.name != "Cached"


def test_own_tasks_and_a_suite_in_one_table(project, monkeypatch):
    import datasets.config
    import huggingface_hub.constants

    from bids_core.evaluation.suites import loading as suite_loading

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    short = {"until": [], "max_gen_toks": 4, "do_sample": False}  # else 1,280 random tokens
    load = suite_loading._load

    def quick(*arguments):
        found = load(*arguments)
        for task in found.values():
            task.set_config("generation_kwargs", dict(short), update=True)
        return found

    monkeypatch.setattr(suite_loading, "_load", quick)
    first, computed = evaluate(project)
    assert computed
    scores = pd.read_parquet(first.path() / "scores.parquet").set_index("task")
    assert list(scores.index) == ["add", "max", "min", "words", "ifeval"]
    assert scores.loc["add", "score"] == pytest.approx(0.25)
    assert scores.loc["ifeval", "n"] == 2
    assert scores.loc["ifeval", "capability"] == "instruction_following"
    samples = pd.read_parquet(first.path() / "samples.parquet")
    assert len(samples) == 4 + 4 + 4 + 3 + 2
    assert samples["score"].between(0, 1).all()
    averages = first.summary()["suites"]["bids7"]
    assert averages["task"] == pytest.approx(scores.loc["ifeval", "score"])
    assert first.summary()["earlier_seconds"] == 0
    assert averages["missing"] == ["humaneval", "mbpp", "bbh", "mmlu", "gsm_plus", "math"]

    assert evaluate(project) == (first, False)
    assert evaluate(project, "evaluation.tokens_per_batch=100")[1] is False

    (project / "scorers.py").write_text("def judge(generation, row):\n    return 0.75\n")
    monkeypatch.setattr("bids_core.evaluation.suites.scores._score", None)  # is not called again
    changed, computed = evaluate(project)
    assert computed
    assert changed != first
    again = pd.read_parquet(changed.path() / "scores.parquet").set_index("task")
    assert again.loc["add", "score"] == pytest.approx(0.75)
    assert again.loc["ifeval", "score"] == scores.loc["ifeval", "score"]
    earlier = changed.summary()["earlier_seconds"]  # what the suite took the first time
    assert 0 < earlier < first.record()["seconds"]
