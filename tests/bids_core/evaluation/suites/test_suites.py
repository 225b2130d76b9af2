"""lm-eval's own task definitions on small local clones of the data sets, with the hub off."""

import json
import socket
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_core.config import EvaluationConfig
from bids_core.errors import ConfigError, DataError
from bids_core.evaluation.suites.tasks import SUITES, chosen_tasks
from bids_core.sandbox import require_sandbox
from bids_core.sandbox.bubblewrap import SandboxError

pytest.importorskip("langdetect")

TASKS = {task.name: task for tasks in SUITES.values() for task in tasks}
PARTS = {  # of lm-eval's tasks, those that the clones have data for
    "bbh": ("bbh_cot_fewshot_boolean_expressions",),
    "mmlu": ("mmlu_anatomy",),
    "math": ("minerva_math_algebra",),
    "tydiqa": ("tydiqa_goldp_en", "tydiqa_goldp_fi"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, helpers):
    return helpers.write_clones(tmp_path_factory.mktemp("clones"))


@pytest.fixture(scope="module")
def helpers():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parent / "suite_data.py"
    spec = importlib.util.spec_from_file_location("suite_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _hub_is_off(monkeypatch, tmp_path_factory):
    import datasets.config
    import huggingface_hub.constants

    def refuse(*_, **__):
        message = "the network was touched"
        raise AssertionError(message)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def long_model(tokenizer):
    """A tiny random model that takes few-shot prompts."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=8192,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    for parameter in made.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def settings(data, **changes):
    return EvaluationConfig(
        **{"suites": ("bids7", "less3"), "suite_data": str(data), "run_generated_code": True}
        | changes
    )


def load(name, config, validation=None):
    from bids_core.evaluation.suites.leakage import ValidationTexts
    from bids_core.evaluation.suites.loading import load_suite_task

    task = replace(TASKS[name], tasks=PARTS[name]) if name in PARTS else TASKS[name]
    nothing = ValidationTexts(frozenset(), frozenset(), "")
    return load_suite_task(task, config, validation or nothing)


class Oracle:
    """An lm-eval model that knows the answers: what is asked for scores one."""

    def __new__(cls, answer, tokenizer=None):
        from lm_eval.api.model import LM

        class _Oracle(LM):
            def loglikelihood(self, requests):
                return [(0.0 if r.idx == r.doc["answer"] else -1.0, False) for r in requests]

            def loglikelihood_rolling(self, requests):
                raise NotImplementedError

            def generate_until(self, requests):
                return [answer(r.doc) for r in requests]

            def apply_chat_template(self, chat_history, add_generation_prompt=True):
                return "".join(f"[{turn['role']}] {turn['content']}" for turn in chat_history)

            tokenizer_name = "oracle"

        return _Oracle()


RIGHT = {
    "humaneval": lambda doc: doc["canonical_solution"],
    "mbpp": lambda doc: doc["code"],
    "bbh": lambda doc: f"We see. So the answer is {doc['target']}.",
    "mmlu": lambda doc: "",
    "gsm_plus": lambda doc: doc["solution"],
    "math": lambda doc: f"{doc['solution']} The final answer is ${doc['answer']}$.",
    "ifeval": lambda doc: "words without it",
    "tydiqa": lambda doc: doc["answers"][0],
}


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("name", list(TASKS))
def test_right_answers_score_one_and_wrong_ones_nothing(data, name, chat):
    from bids_core.evaluation.suites.scores import evaluate_suite_task

    if TASKS[name].runs_code:
        try:
            require_sandbox()
        except SandboxError as error:
            pytest.skip(str(error))
    loaded = load(name, settings(data, chat_prompts=chat))
    right = evaluate_suite_task(Oracle(RIGHT[name]), loaded, chat=chat)
    assert right.scores["score"].tolist() == [1.0]
    assert right.scores["capability"].tolist() == [TASKS[name].capability]
    assert right.samples["score"].tolist() == [1.0] * right.scores["n"][0]
    if name != "mmlu":
        loaded = load(name, settings(data, chat_prompts=chat))
        wrong = evaluate_suite_task(Oracle(lambda doc: "no, never"), loaded, chat=chat)
        assert wrong.scores["score"].tolist() == [0.0]


def test_few_shot_examples_are_as_many_as_the_papers_have(data):
    from bids_core.evaluation.suites.scores import evaluate_suite_task

    asked = {"mmlu": "Answer:", "tydiqa": "Context:", "bbh": "Q:", "gsm_plus": "Question:"}
    for name, mark in asked.items():
        found = evaluate_suite_task(
            Oracle(RIGHT[name]), load(name, settings(data, chat_prompts=False)), chat=False
        )
        prompts = found.samples["prompt"]
        shown = 1000 // 2  # samples keep the beginning of a prompt
        count = prompts[0].count(mark)
        assert count == TASKS[name].few_shot + 1 or len(prompts[0]) > shown, name


def test_scores_are_those_of_plain_lm_eval(data, long_model, tokenizer):
    """The same tasks through lm-eval's evaluator and its own model, one row at a time."""
    from lm_eval.evaluator import evaluate as run_harness
    from lm_eval.models.huggingface import HFLM

    from bids_core.evaluation.scores import evaluation_mode, stop_ids
    from bids_core.evaluation.suites.model import SuiteModel
    from bids_core.evaluation.suites.scores import FEW_SHOT_SEED, evaluate_suite_task

    short = {"max_gen_toks": 12, "do_sample": False}
    with evaluation_mode(long_model, tokenizer):
        ours = SuiteModel(
            long_model, tokenizer, stop_ids=stop_ids(long_model, tokenizer), tokens_per_batch=4096,
            on_progress=lambda done, total: None,
        )  # fmt: skip
        plain = HFLM(pretrained=long_model, tokenizer=tokenizer, batch_size=1)
        for name in ("mmlu", "ifeval", "tydiqa"):
            loaded = load(name, settings(data, suite_limit=2))
            for task in loaded.tasks.values():
                if task.OUTPUT_TYPE == "generate_until":
                    task.set_config("generation_kwargs", short, update=True)
            mine = evaluate_suite_task(ours, loaded, chat=True)
            plainly = load(name, settings(data)).tasks
            for task in plainly.values():
                task.set_fewshot_seed(seed=FEW_SHOT_SEED)
                if task.OUTPUT_TYPE == "generate_until":
                    task.set_config("generation_kwargs", short, update=True)
            theirs = run_harness(
                plain, {"tasks": plainly, "groups": {}, "group_map": {}}, limit=2,
                apply_chat_template=True, fewshot_as_multiturn=True, bootstrap_iters=0,
            )  # fmt: skip
            metric, _, kind = loaded.metric.partition(",")
            for part, rows in mine.samples.groupby("part"):
                reference = sorted(
                    (row for row in theirs["samples"][part] if row["filter"] == kind),
                    key=lambda row: row["doc_id"],
                )
                assert rows["score"].tolist() == [float(row[metric]) for row in reference]
                assert rows["score"].mean() == theirs["results"][part][loaded.metric]
                if rows["generation"].notna().all():
                    assert rows["generation"].tolist() == [row["resps"][0][0] for row in reference]
                    assert any(rows["generation"])


def test_likelihoods_are_those_of_plain_lm_eval(long_model, tokenizer):
    from lm_eval.models.huggingface import HFLM

    from bids_core.evaluation.suites.model import SuiteModel

    ours = SuiteModel(
        long_model, tokenizer, stop_ids=[2], tokens_per_batch=64, on_progress=lambda d, n: None,
        max_length=24,
    )  # fmt: skip
    plain = HFLM(pretrained=long_model, tokenizer=tokenizer, batch_size=1, max_length=24)
    ids = list(range(40, 70))
    requests = [
        (("a", "b"), ids[:10], ids[10:12]), (("a", "c"), ids[:10], ids[12:13]),
        (("d", "e"), ids[:1], ids[1:4]), (("f", "g"), ids, ids[:5]), (("f", "h"), ids, ids[3:4]),
    ]  # fmt: skip
    found = ours._loglikelihood_tokens(requests)
    expected = plain._loglikelihood_tokens(requests, disable_tqdm=True)
    np.testing.assert_allclose([f[0] for f in found], [e[0] for e in expected], atol=1e-4)
    assert [f[1] for f in found] == [e[1] for e in expected]


def test_validation_instances_are_left_out_by_id_and_by_content(data, helpers):
    from bids_core.evaluation.suites.leakage import ValidationTexts

    def row(row_id, task, prompt):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "x"}]
        return {
            "row_id": row_id, "source": task, "task": task, "messages": json.dumps(turns),
        }  # fmt: skip

    question = helpers.SUMS[2]["question"]
    frame = pd.DataFrame(
        [
            row("HumanEval/1", "humaneval", "something else"),
            row("mbpp:12", "mbpp", "something else"),
            row("a", "sums", f"Solve this:\n{question.upper()}  "),
            row("11", "another", "an id of another task does not count"),
        ]
    )
    texts = ValidationTexts.of(frame)
    for name, gone in [("humaneval", 1), ("mbpp", 1), ("gsm_plus", 1), ("ifeval", 0)]:
        loaded = load(name, settings(data), texts)
        assert sum(loaded.excluded.values()) == gone, name
        assert loaded.digest != load(name, settings(data)).digest or not gone
    assert load("gsm_plus", settings(data), texts).kept["gsm_plus"] == [0, 1, 3, 4, 5, 6, 7]
    limited = load("gsm_plus", settings(data, suite_limit=3), texts)
    assert limited.kept["gsm_plus"] == [0, 1, 3]
    from bids_core.evaluation.suites.scores import evaluate_suite_task

    found = evaluate_suite_task(Oracle(RIGHT["gsm_plus"]), limited, chat=False)
    assert found.samples["row_id"].tolist() == ["gsm_plus:0", "gsm_plus:1", "gsm_plus:3"]
    assert json.loads(found.scores["more"][0])["excluded"] == 1

    everything = pd.DataFrame(
        [row(str(n), "x", r["prompt"]) for n, r in enumerate(helpers.FUNCTIONS)]
    )
    with pytest.raises(DataError, match="all of its rows are validation instances"):
        load("humaneval", settings(data), ValidationTexts.of(everything))


def test_parts_are_weighed_as_the_papers_weigh_them(data):
    from bids_core.evaluation.suites.scores import evaluate_suite_task

    loaded = load("tydiqa", settings(data, suite_limit=None))
    loaded.kept["tydiqa_goldp_fi"] = [0]
    found = evaluate_suite_task(
        Oracle(lambda doc: doc["answers"][0] if doc["id"].startswith("fin") else "no"),
        loaded, chat=False,
    )  # fmt: skip
    assert found.scores["score"][0] == pytest.approx(0.5)  # the mean of languages, not of rows
    assert json.loads(found.scores["more"][0])["parts"] == {
        "tydiqa_goldp_en": 0.0, "tydiqa_goldp_fi": 1.0,
    }  # fmt: skip


def test_a_data_set_that_can_not_be_had_is_one_clear_line(tmp_path):
    with pytest.raises(DataError) as caught:
        load("gsm_plus", settings(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    for part in ("gsm_plus", "qintongli/GSM-Plus", "hf download", str(tmp_path), "suite_tasks"):
        assert part in message


def test_the_choice_of_tasks_is_checked(make_task):
    both = EvaluationConfig(suites=("bids7", "less3"), run_generated_code=True)
    assert [task.name for task in chosen_tasks(both)] == [
        "humaneval", "mbpp", "bbh", "mmlu", "gsm_plus", "math", "ifeval", "tydiqa",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="run_generated_code"):
        chosen_tasks(EvaluationConfig(suites=("bids7",)))
    some = EvaluationConfig(suites=("bids7",), suite_tasks=("mmlu", "bbh"))
    assert [task.name for task in chosen_tasks(some)] == ["bbh", "mmlu"]
    with pytest.raises(ConfigError, match="'mmulu' is not a task"):
        chosen_tasks(EvaluationConfig(suites=("less3",), suite_tasks=("mmulu",)))
    with pytest.raises(ConfigError, match="rename it"):
        chosen_tasks(some, (make_task("mmlu"),))


def test_the_suites_name_tasks_and_data_sets_that_lm_eval_has():
    from lm_eval.tasks._yaml_loader import load_yaml

    from bids_core.evaluation.suites.loading import _manager

    registry = _manager().task_index
    leaves = {"bbh": "bbh_cot_fewshot_snarks", "mmlu": "mmlu_virology", "tydiqa": "tydiqa_goldp_ar"}
    for task in TASKS.values():
        for chat in (True, False):
            names, metric = task.variant(chat=chat)
            assert all(name in registry for name in names)
            leaf = registry[leaves.get(task.name, names[0])]
            config = load_yaml(leaf.yaml_path, resolve_func=False)
            assert config["dataset_path"] == task.data
            assert config.get("num_fewshot", task.few_shot) == task.few_shot
            assert "," in metric
    assert len(registry["tydiqa_goldp"].tags) == 9
