"""Recipes: function and YAML are the same; each passes `bids check` on rows as the hub has them."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from bids_core.config.load import load_config
from bids_core.planning.recipes import COSTS, RECIPES

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "recipes"

TURNS = [{"role": "user", "content": "Name three rivers."},
         {"role": "assistant", "content": "Rhine, Loire, Ebro."}]  # fmt: skip
HUB = {  # a row of each data set with the fields that it has on the hub
    "openbmb/UltraInteract_sft": {
        "task": "Math_CoT", "dataset": "gsm8k", "instruction": "What is 2 + 3?",
        "response": "2 + 3 = 5", "id": "u{n}", "parent_id": "",
    },
    "princeton-nlp/less_data": {"dataset": "dolly", "id": "d{n}", "messages": TURNS},
    "openai/openai_humaneval": {
        "task_id": "HumanEval/{n}", "prompt": "def one():\n", "canonical_solution": "    return 1",
        "test": "assert one() == 1", "entry_point": "one",
    },
    "google-research-datasets/mbpp": {
        "task_id": 1, "text": "Write a function that returns {n}.", "code": "def f(): return {n}",
        "test_list": ["assert f() == {n}"], "test_setup_code": "", "challenge_test_list": [],
    },
    "lukaemon/bbh": {"input": "Is {n} even?", "target": "No"},
    "cais/mmlu": {
        "question": "What is {n} + 1?", "subject": "algebra", "choices": ["1", "2", "3", "4"],
        "answer": 1,
    },
    "qintongli/GSM-Plus": {
        "question": "How many are {n} and one?", "solution": "{n} + 1", "answer": "2",
        "perturbation_type": "none", "seed_question": "", "seed_solution": "", "seed_answer": "",
    },
    "EleutherAI/hendrycks_math": {
        "problem": "Compute {n}^2.", "level": "Level 1", "type": "Algebra", "solution": "{n}",
    },
    "allenai/tulu-3-sft-personas-instruction-following": {
        "id": "p{n}", "prompt": "Name three rivers.", "messages": TURNS, "constraints": ["three"],
    },
    "google-research-datasets/tydiqa": {
        "id": "finnish-{n}", "title": "T", "context": "The Rhine is a river.",
        "question": "What is river {n}?", "answers": {"text": ["The Rhine"], "answer_start": [0]},
    },
}  # fmt: skip
N_ROWS = 4


@lru_cache
def made(name):
    """Rows of a data set; `{n}` is the row's number."""
    rows = []
    for n in range(N_ROWS):
        text = json.dumps(HUB[name]).replace("{n}", str(n))
        rows.append(json.loads(text))
    for n, row in enumerate(rows):
        if isinstance(row.get("task_id"), int):
            row["task_id"] = n
    split = Dataset.from_list(rows)
    return DatasetDict(dict.fromkeys(("train", "validation", "test", "dev", "testmini"), split))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_function_and_file_are_the_same(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    read = load_config(FOLDER / f"{name}.yaml").model_dump_json()
    assert read.replace("/recipes/../", "/") == RECIPES[name]().model_dump_json()


def test_every_file_is_a_recipe():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RECIPES)


@pytest.mark.parametrize("name", ["bids_paper", "less_paper", "qlora_24gb"])
def test_a_recipe_passes_check_on_rows_as_the_hub_has_them(
    name, tmp_path, monkeypatch, tiny_model_folder, capsys
):
    import datasets

    from flows.commands.check import check

    asked = []

    def load_dataset(path, subset=None, **options):
        asked.append(path)
        return made(path)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    changes = [f"model={{path: {tiny_model_folder}, device: cpu}}", "selection.budget=1",
               "evaluation.suites=[]"]  # fmt: skip
    check(FOLDER / f"{name}.yaml", changes, cost=False, as_json=True)
    summary = json.loads(capsys.readouterr().out)
    assert summary["budget"] == 1
    assert len(set(asked)) >= 4
    tasks = {entry.task for entry in RECIPES[name]().validation}
    counted = json.dumps(summary["data"])
    for task in tasks:
        assert task in counted


def test_the_cpu_recipe_passes_check_on_the_demos_data(tmp_path, monkeypatch, tiny_model_folder,
                                                       capsys):  # fmt: skip
    pytest.importorskip("reasoning_gym")
    import runpy
    import sys

    from flows.commands.check import check

    target = tmp_path / "examples" / "demo" / "data"
    monkeypatch.setattr(sys, "argv", ["make_data.py", str(target)])
    runpy.run_path(str(ROOT / "examples/demo/make_data.py"), run_name="__main__")
    shutil.copytree(FOLDER, tmp_path / "examples" / "recipes")
    capsys.readouterr()
    model = tmp_path / "model"  # whose tokenizer makes more of the rows than its 256 positions
    shutil.copytree(tiny_model_folder, model)
    settings = json.loads((model / "config.json").read_text())
    settings["max_position_embeddings"] = 2048
    (model / "config.json").write_text(json.dumps(settings))
    changes = [f"model={{path: {model}, device: cpu}}", "data.max_length=2048"]
    check(tmp_path / "examples" / "recipes" / "cpu.yaml", changes, cost=False, as_json=True)
    summary = json.loads(capsys.readouterr().out)
    assert summary["budget"] == 40


@pytest.mark.parametrize("name", sorted(COSTS))
def test_the_documented_costs_are_those_of_the_cost_model(name):
    """docs/recipes.md states what the cost model says."""
    config, plan = RECIPES[name](), COSTS[name]
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    start = f"| `{name}` | {plan.hardware} |"
    row = next(line for line in text.splitlines() if line.startswith(start))
    costs = {cost.stage: cost for cost in plan.costs(config)}
    hours = [f"{costs[stage].seconds / 3600:.1f}"
             for stage in ("warmup", "gradients", "finetune", "evaluation")]  # fmt: skip
    disk = f"{sum(cost.disk_bytes for cost in costs.values()) / 1e9:.1f}"
    memory = f"{plan.memory(config) / 1e9:.1f}"
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [*hours, disk, memory]
