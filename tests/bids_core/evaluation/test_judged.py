"""Tasks whose answers are judged: a scorer, the row's tests, the row's instructions."""

import json

import numpy as np
import pytest

from bids_core.data.splits import Split
from bids_core.data.tokenization import tokenize_example
from bids_core.errors import ConfigError, DataError
from bids_core.evaluation import evaluate
from bids_core.records import Example, Message
from bids_core.sandbox import Limits, require_sandbox
from bids_core.sandbox.bubblewrap import SandboxError


@pytest.fixture
def judged_split(tokenizer):
    """Make a split of (task, question, answer or None, fields)."""

    def _make(rows):
        examples = []
        for index, (task, question, answer, fields) in enumerate(rows):
            messages = [Message("user", question)]
            if answer is not None:
                messages.append(Message("assistant", answer))
            examples.append(
                Example(
                    f"{task}:{index}",
                    task,
                    tuple(messages),
                    f"{task}.jsonl:{index + 1}",
                    task=task,
                    capability="math",
                    fields=json.dumps(fields),
                )
            )
        return Split.of(examples, [tokenize_example(e, tokenizer, 200) for e in examples])

    return _make


@pytest.fixture
def scorer_file(tmp_path):
    def _write(body):
        path = tmp_path / "scorers.py"
        path.write_text(f"def score(generation, row):\n    {body}\n")
        return f"{path}:score"

    return _write


def run(model, tokenizer, split, task, **more):
    return evaluate(model, tokenizer, split, [task], tokens_per_batch=512, **more)


def test_scorer_gets_generation_and_fields(model, tokenizer, judged_split, make_task, scorer_file):
    rows = [("free", f"Say {n}", str(n), {"want": n, "share": n / 4}) for n in range(4)]
    task = make_task(
        "free", metric="generation", max_new_tokens=4,
        scorer=scorer_file("return row['share'] if isinstance(generation, str) else 0"),
    )  # fmt: skip
    found = run(model, tokenizer, judged_split(rows), task)
    assert found.samples["score"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert found.samples["correct"].tolist() == [False] * 4
    score = found.scores.iloc[0]
    assert score["score"] == pytest.approx(0.375)
    assert score["stderr"] == pytest.approx(np.std([0, 0.25, 0.5, 0.75], ddof=1) / 2)
    assert score["majority"] == pytest.approx(0.25)
    assert np.isfinite(score["answer_loss"])


def test_rows_without_a_reference_have_no_loss(
    model, tokenizer, judged_split, make_task, scorer_file
):
    rows = [("free", "Say a", None, {}), ("free", "Say b, please", None, {})]
    task = make_task("free", metric="generation", scorer=scorer_file("return len(generation) > -1"))
    found = run(model, tokenizer, judged_split(rows), task)
    assert found.scores["score"].tolist() == [1.0]
    assert found.scores[["majority", "answer_loss", "answer_loss_stderr"]].isna().all(axis=None)
    assert found.samples["generation"].notna().all()
    mixed = judged_split([*rows, ("free", "Say c", "c", {})])
    found = run(model, tokenizer, mixed, task)
    assert found.samples["answer_loss"].isna().tolist() == [True, True, False]
    assert found.scores["answer_loss"][0] == found.samples["answer_loss"][2]


def test_a_scorer_that_raises_names_row_and_scorer(
    model, tokenizer, judged_split, make_task, scorer_file
):
    rows = [("free", "Say a", "a", {"bad": False}), ("free", "Say b", "b", {"bad": True})]
    scorer = scorer_file("return 1 / (not row['bad'])")
    task = make_task("free", metric="generation", scorer=scorer)
    with pytest.raises(DataError, match=r"free\.jsonl:2: row 'free:1': scorer .*ZeroDivision") as e:
        run(model, tokenizer, judged_split(rows), task)
    assert "\n" not in str(e.value)


def test_a_scorer_is_tried_before_any_forward_pass(
    model, tokenizer, judged_split, make_task, scorer_file, caplog
):
    split = judged_split([("free", "Say a", "a", {})])
    forward, model.forward = model.forward, None
    bodies = dict.fromkeys(("return 2", "return 'x'", "return float('nan')"), "from 0 to 1")
    for body, message in ({"return 1 / 0": "ZeroDivision"} | bodies).items():
        task = make_task("free", metric="generation", scorer=scorer_file(body))
        with pytest.raises(DataError, match=message):
            run(model, tokenizer, split, task)
    model.forward = forward
    task = make_task("free", metric="generation", scorer=scorer_file("return 0.5"))
    run(model, tokenizer, split, task)
    assert "gives the reference answer" in caplog.text


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("nowhere", "write package.module:function"),
        ("no_such_package.scorers:score", "cannot be imported"),
        ("json:no_such_function", "cannot be imported"),
        ("/no/such/file.py:score", "cannot be imported"),
        ("json:JSONDecoder", "cannot be called"),
    ],
)
def test_scorers_that_are_not_there(model, tokenizer, judged_split, make_task, scorer, message):
    model.forward = None
    task = make_task("free", metric="generation", scorer=scorer)
    with pytest.raises(ConfigError, match=message):
        run(model, tokenizer, judged_split([("free", "Say a", "a", {})]), task)


def test_a_scorer_is_known_by_its_content(make_task, scorer_file):
    from bids_core.evaluation.scorers import load_scorer

    task = make_task("free", metric="generation", scorer=scorer_file("return 0"))
    first = load_scorer(task)
    assert load_scorer(task).digest == first.digest
    scorer_file("return 1")
    changed = load_scorer(task)
    assert changed.digest != first.digest
    assert (first.function("", {}), changed.function("", {})) == (0, 1)


def test_reasoning_gym_judges_its_own_rows(model, tokenizer, judged_split, make_task, caplog):
    reasoning_gym = pytest.importorskip("reasoning_gym")
    entries = list(reasoning_gym.create_dataset("chain_sum", size=3, seed=0))
    rows = [("sums", entry["question"], entry["answer"], entry) for entry in entries]
    task = make_task("sums", metric="generation", scorer="bids_core.evaluation.reasoning_gym:score")
    found = run(model, tokenizer, judged_split(rows), task)
    assert found.samples["score"].between(0, 1).all()
    assert "reference" not in caplog.text

    from bids_core.evaluation.reasoning_gym import score

    assert score(f" {entries[0]['answer']}\n", entries[0]) == 1.0
    assert score("no number", entries[0]) < 0.1


CODE = [
    ("code", "Write one()", "def one():\n    return 1", {"test": "assert one() == 1"}),
    ("code", "Write nothing", "", {"test": "assert True"}),
]


def test_code_is_run_only_when_asked_for(model, tokenizer, judged_split, make_task):
    split = judged_split(CODE[:1])
    task = make_task("code", metric="code", max_new_tokens=3)
    with pytest.raises(ConfigError, match="run_generated_code"):
        run(model, tokenizer, split, task)
    no_tests = judged_split([("code", "Write one()", None, {})])
    try:
        require_sandbox()
    except SandboxError as error:
        pytest.skip(str(error))
    with pytest.raises(DataError, match=r"code\.jsonl:1.*no tests"):
        run(model, tokenizer, no_tests, task, code_limits=Limits())
    found = run(model, tokenizer, split, task, code_limits=Limits(seconds=2))
    assert found.scores["score"][0] in {0.0, 1.0}
    empty = judged_split([("code", "Write nothing", None, {"test": "assert 'x' == 'y'"})])
    assert run(model, tokenizer, empty, task, code_limits=Limits()).scores["score"][0] == 0.0


IFEVAL = {
    "key": 1,
    "prompt": "Write a word. No commas.",
    "instruction_id_list": ["en:punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"relation": "at least", "num_words": 300}],
}


def test_ifeval_rows(model, tokenizer, judged_split, make_task, monkeypatch):
    pytest.importorskip("langdetect")
    split = judged_split([("ifeval", IFEVAL["prompt"], None, IFEVAL)] * 2)
    found = run(model, tokenizer, split, make_task("ifeval", metric="ifeval", max_new_tokens=5))
    assert found.scores["score"].tolist() == [0.0]  # five tokens are no 300 words
    more = json.loads(found.scores["more"][0])
    assert set(more) == {
        "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc",
    }  # fmt: skip
    commas = ["," in text for text in found.samples["generation"]]
    assert more["inst_level_strict_acc"] == pytest.approx(0.5 * (1 - np.mean(commas)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instruction_id_list": ["punctuation:no_dots"], "kwargs": [{}]}, "unknown to IFEval"),
        ({"kwargs": [{}]}, "two lists of the same length"),
        ({"instruction_id_list": None}, "two lists of the same length"),
        ({"instruction_id_list": [], "kwargs": []}, "no instruction"),
    ],
)
def test_ifeval_rows_are_checked_before_any_forward_pass(
    model, tokenizer, judged_split, make_task, changes, message
):
    pytest.importorskip("langdetect")
    model.forward = None
    split = judged_split([("ifeval", "Write a word.", None, IFEVAL | changes)])
    with pytest.raises(DataError, match=rf"ifeval\.jsonl:1.*{message}"):
        run(model, tokenizer, split, make_task("ifeval", metric="ifeval"))
