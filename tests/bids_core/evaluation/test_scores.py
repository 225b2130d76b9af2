import json
import logging
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from bids_core.data.splits import Split
from bids_core.errors import ConfigError, DataError
from bids_core.evaluation import evaluate, macro_average
from bids_core.evaluation.plan import plan_tasks
from bids_core.evaluation.rows import rows_of_task, stop_tokens
from bids_core.records import IGNORED_LABEL

QUIZ = [
    ("quiz", f"Is {n} even?", answer, ("yes", "no", "yes indeed"))
    for n, answer in enumerate(["yes", "no", "yes", "no", "yes"])
]
SUMS = [("sums", f"What is {n} + {n * n}?", str(n + n * n), None) for n in range(6)]


@pytest.fixture
def tasks(make_task):
    return [make_task(max_new_tokens=6), make_task("quiz", metric="multiple_choice")]


@pytest.fixture
def split(make_split):
    return make_split(SUMS + QUIZ)


def run(model, tokenizer, split, tasks, **settings):
    return evaluate(model, tokenizer, split, tasks, tokens_per_batch=512, **settings)


def test_frames(model, tokenizer, split, tasks):
    found = run(model, tokenizer, split, tasks)
    scores = found.scores.set_index("task")
    assert list(found.scores.columns) == [
        "task", "capability", "metric", "n", "score", "stderr", "majority", "answer_loss",
        "answer_loss_stderr", "more",
    ]  # fmt: skip
    assert scores["n"].to_dict() == {"sums": 6, "quiz": 5}
    assert scores.loc["quiz", "majority"] == pytest.approx(0.6)
    assert scores.loc["sums", "majority"] == pytest.approx(1 / 6)
    for task, rows in found.samples.groupby("task"):
        assert scores.loc[task, "score"] == pytest.approx(rows["correct"].mean())
        stderr = rows["correct"].astype(float).std(ddof=1) / np.sqrt(len(rows))
        assert scores.loc[task, "stderr"] == pytest.approx(stderr)
        assert scores.loc[task, "answer_loss"] == pytest.approx(rows["answer_loss"].mean())
    assert found.samples["row_id"].tolist() == split.row_ids
    assert set(found.samples["prediction"][6:]) <= {"yes", "no", "yes indeed"}


def test_a_model_that_knows_the_answers_scores_one(model, tokenizer, split, tasks, make_split):
    """Ask again with the model's own answers as references: generation and choice agree."""
    first = run(model, tokenizer, split, tasks).samples
    again = make_split(
        [
            (task, question, answer, choices)
            for (task, question, _, choices), answer in zip(
                SUMS + QUIZ, first["prediction"], strict=True
            )
            if answer
        ]
    )
    found = run(model, tokenizer, again, tasks)
    assert len(again) >= 8
    assert found.scores["score"].tolist() == [1.0, 1.0]


def test_equals_lm_evals_evaluator(model, tokenizer, make_split, make_task, lm_eval_oracle):
    """Means, standard errors, other metrics, row scores and answers are the same to the bit."""
    pytest.importorskip("langdetect")
    instructions = {
        "prompt": "Sing",
        "instruction_id_list": ["punctuation:no_comma", "change_case:english_capital"],
        "kwargs": [{}, {}],
    }
    rows = [*SUMS, *QUIZ, *[("more", *row[1:]) for row in QUIZ], ("one", "2+2?", "4", None)]
    frame = make_split([*rows, *[("free", f"Sing {n}", "la", None) for n in range(5)]]).frame
    frame = frame.assign(fields=json.dumps(instructions))
    tasks = [
        make_task("more", metric="multiple_choice"),
        make_task(max_new_tokens=6, answer_pattern=r"[0-9]+|[a-z]+", stop=["e"]),
        make_task("quiz", metric="multiple_choice"),
        make_task("one", max_new_tokens=2),
        make_task("free", metric="ifeval", max_new_tokens=9),
    ]
    split = Split(frame)
    found = run(model, tokenizer, split, tasks)
    plan = plan_tasks(split, tokenizer, tasks, max_positions=256, code_limits=None)
    expected = lm_eval_oracle.score(
        model,
        tokenizer,
        tasks,
        plan,
        stop_ids=stop_tokens([], tokenizer, [2]),
        tokens_per_batch=512,
    )
    for row in found.scores.itertuples():
        theirs = expected[row.task]
        assert row.score == theirs["score"]
        assert row.stderr == theirs["stderr"] or (row.n == 1 and theirs["stderr"] == "N/A")
        more = json.loads(row.more) if isinstance(row.more, str) else {}
        assert more == theirs["more"]
        mine = found.samples[found.samples["task"] == row.task]
        assert mine["score"].tolist() == theirs["row_scores"]
        assert mine["prediction"].tolist() == theirs["predictions"]


def test_own_rows_need_no_lm_eval():
    """Nothing of it is imported, so nothing of it can be changed, for rows of one's own."""
    code = "import sys, bids_core.evaluation.scores; print('lm_eval' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_equals_plain_lm_eval(model, tokenizer, split, tasks, lm_eval_oracle):
    """The same requests through lm-eval's own Hugging Face model, one row at a time."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=False)
    rows = {t.task: rows_of_task(split, t, tokenizer, max_positions=256) for t in tasks}
    ours = lm_eval_oracle.RowModel(model, tokenizer, rows=rows, stop_ids=[2], tokens_per_batch=512)
    limits = {"until": ["<|im_end|>"], "max_gen_toks": 6, "do_sample": False}

    def request(kind, task, index, arguments, position):
        return Instance(kind, {"index": index}, arguments, position, (task, index, 1))

    asked = [
        request("generate_until", "sums", i, (row.prompt_text, dict(limits)), 0)
        for i, row in enumerate(rows["sums"])
    ]
    theirs = plain.generate_until(asked, disable_tqdm=True)
    assert ours.generate_until(asked) == [text.lstrip() for text in theirs]
    scored = [
        request("loglikelihood", "quiz", i, (row.prompt_text, choice), k)
        for i, row in enumerate(rows["quiz"])
        for k, choice in enumerate(row.choices)
    ]
    # given as tokens: its own encoding moves the newline that ends the prompt into the choice
    pairs = [
        (("", ""), list(row.prompt), example.labels[example.labels != IGNORED_LABEL].tolist())
        for row in rows["quiz"]
        for example in row.choice_examples
    ]
    expected = plain._loglikelihood_tokens(pairs, disable_tqdm=True)
    for (mine, greedy), (reference, is_greedy) in zip(
        ours.loglikelihood(scored), expected, strict=True
    ):
        assert mine == pytest.approx(reference, abs=1e-4)
        assert greedy == is_greedy


def test_needs_no_network_and_says_nothing(
    model, tokenizer, split, tasks, monkeypatch, capsys, caplog
):
    def refuse(*arguments, **more):
        message = "the evaluation touched the network"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with caplog.at_level(logging.WARNING):
        run(model, tokenizer, split, tasks)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert caplog.records == []


def test_model_and_tokenizer_are_left_as_they_were(model, tokenizer, split, tasks):
    import huggingface_hub.constants

    model.train()
    model.model.layers[0].eval()
    model.config.use_cache = False
    training = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = model.generation_config.to_dict()
    state = (tokenizer.padding_side, tokenizer.pad_token, len(tokenizer))
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    run(model, tokenizer, split, tasks)
    assert [module.training for module in model.modules()] == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.generation_config.to_dict() == settings
    assert (tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)) == state
    assert offline == huggingface_hub.constants.HF_HUB_OFFLINE
    assert model.config.use_cache is False


def test_same_result_again_and_with_other_batches(model, tokenizer, split, tasks):
    first = run(model, tokenizer, split, tasks)
    again = run(model, tokenizer, split, tasks)
    pd.testing.assert_frame_equal(first.scores, again.scores)
    pd.testing.assert_frame_equal(first.samples, again.samples)
    small = evaluate(model, tokenizer, split, tasks, tokens_per_batch=1)
    pd.testing.assert_series_equal(first.samples["prediction"], small.samples["prediction"])


def test_adapters_are_part_of_the_model(model, tokenizer, split, tasks):
    import peft

    base = run(model, tokenizer, split, tasks).samples["answer_loss"]
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    tuned = peft.get_peft_model(model, settings)
    fresh = run(tuned, tokenizer, split, tasks).samples["answer_loss"]
    np.testing.assert_allclose(fresh, base, atol=1e-6)
    torch.manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    changed = run(tuned, tokenizer, split, tasks).samples["answer_loss"]
    assert not np.allclose(changed, base, atol=1e-3)


def test_progress_counts_requests(model, tokenizer, make_split, tasks):
    calls = []
    turns = ["Hi", "Hello!", "What is 1 + 1?"]
    split = make_split([*SUMS, *QUIZ, ("sums", turns, "2", None)])
    run(model, tokenizer, split, tasks, on_progress=lambda done, n: calls.append((done, n)))
    total = 7 + 5 * 3 + 1  # generations, choices, and the loss of the row with two answers
    assert calls[-1] == (total, total)
    assert calls == sorted(calls)


def test_answer_loss_covers_all_labels(model, tokenizer, make_split, tasks):
    """Earlier turns of the assistant and multiple choice included; against a plain pass."""
    from bids_core.evaluation.likelihood import answer_losses

    turns = ["Hi", "Hello!", "What is 1 + 1?"]
    split = make_split([*SUMS, ("sums", turns, "2", None), *QUIZ])
    found = run(model, tokenizer, split, tasks).samples["answer_loss"]
    plain = answer_losses(model, split.examples(), tokens_per_batch=1)
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_answer_pattern_applies_to_both_sides(model, tokenizer, make_split, make_task):
    split = make_split([("sums", "2+2?", "It is 3, no: 4", None)])
    found = run(model, tokenizer, split, [make_task(answer_pattern=r"\d", max_new_tokens=4)])
    assert found.samples["reference"].tolist() == ["4"]
    assert found.samples["generation"].notna().all()
    assert np.isnan(found.scores["stderr"][0])
    assert np.isnan(found.scores["answer_loss_stderr"][0])


def test_nothing_to_evaluate_is_refused(model, tokenizer, split, tasks):
    with pytest.raises(DataError, match="no test rows"):
        run(model, tokenizer, split.without(set(split.row_ids)), tasks)
    with pytest.raises(DataError, match="no test rows"):
        run(model, tokenizer, split, [])


def test_bad_rows_are_found_before_any_forward_pass(model, tokenizer, split, make_task):
    model.forward = None  # would raise a TypeError
    with pytest.raises(DataError, match=r"sums\.jsonl:1"):
        run(model, tokenizer, split, [make_task(answer_pattern="[a-z]")])
    with pytest.raises(ConfigError, match="answer_pattern"):
        run(model, tokenizer, split, [make_task(answer_pattern="(")])


def test_macro_averages():
    scores = pd.DataFrame(
        {
            "capability": ["math", "math", "logic", "coding"],
            "score": [0.2, 0.4, 0.9, np.nan],
            "metric": ["exact_match"] * 3 + ["answer_loss"],
            "task": list("abcd"),
        }
    )
    assert macro_average(scores) == {
        "task": pytest.approx(0.5),
        "capability": pytest.approx((0.3 + 0.9) / 2),
    }


def test_a_task_may_have_an_answer_loss_and_no_score(model, tokenizer, split, make_task):
    both = [make_task(max_new_tokens=6), make_task("quiz", metric="multiple_choice")]
    alone = [make_task(metric="answer_loss"), make_task("quiz", metric="answer_loss")]
    mixed = run(model, tokenizer, split, [alone[0], both[1]])
    scored, losses = run(model, tokenizer, split, both), run(model, tokenizer, split, alone)
    for found in (mixed, losses):
        assert found.samples["answer_loss"].tolist() == pytest.approx(
            scored.samples["answer_loss"].tolist(), rel=1e-4
        )
    assert mixed.scores["score"].isna().tolist() == [True, False]
    assert mixed.scores["majority"].isna().tolist() == [True, False]
    assert mixed.samples["correct"].isna().sum() == len(SUMS)
    assert mixed.scores["score"][1] == scored.scores["score"][1]
    assert np.isnan(macro_average(losses.scores)["task"])
