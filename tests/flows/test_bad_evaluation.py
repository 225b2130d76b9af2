"""What can be wrong with an evaluation is said before anything is trained: one line, status 2."""

from __future__ import annotations

import json

import pytest

ROW = {"question": "Which is smaller, 1 or 2?", "answer": "1", "options": ["1", "2"]}
MAPPING = "test.0.mapping={prompt: question, completion: answer, choices: options}"


def write(project, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (project / "test" / "add.jsonl").write_text(text)


def scorer(project, body):
    (project / "scorers.py").write_text(f"def judge(generation, row):\n    {body}\n")
    return ("test.0.metric=generation", "test.0.scorer=scorers.py:judge")


CASES = {
    "a task file with missing fields": (
        lambda p: write(p, {"question": "Why?"}), (), ("add.jsonl:1", "missing-field", "answer"),
    ),
    "an answer that is not among the choices": (
        lambda p: write(p, ROW | {"answer": "3"}), ("test.0.metric=multiple_choice", MAPPING),
        ("add.jsonl:1", "not among the choices"),
    ),
    "multiple choice without choices": (
        lambda p: write(p, ROW), ("test.0.metric=multiple_choice",), ("mapping.choices",),
    ),
    "no reference answer to compare with": (
        lambda p: write(p, {"question": "Why?"}), ("test.0.mapping={prompt: question}",),
        ("add.jsonl:1", "needs a reference answer"),
    ),
    "an answer pattern that finds nothing": (
        lambda p: write(p, ROW), ("test.0.answer_pattern='[a-z]+'",), ("add.jsonl:1", "finds no"),
    ),
    "a scorer that raises": (
        lambda p: write(p, ROW), lambda p: scorer(p, "return row['no such field']"),
        ("add.jsonl:1", "scorers.py:judge", "KeyError"),
    ),
    "a scorer that is not there": (
        lambda p: write(p, ROW), ("test.0.metric=generation", "test.0.scorer=scorers.py:judge"),
        ("scorers.py:judge", "cannot be imported"),
    ),
    "metric generation without a scorer": (
        lambda p: write(p, ROW), ("test.0.metric=generation",), ("scorer", "go together"),
    ),
    "code that may not be run": (
        lambda p: write(p, ROW), ("test.0.metric=code",), ("run_generated_code",),
    ),
    "a suite's code that may not be run": (
        None, ("evaluation.suites=[bids7]",), ("run_generated_code", "humaneval"),
    ),
    "a suite that needs the hub": (
        None, ("evaluation.suites=[bids7]", "evaluation.suite_tasks=[gsm_plus]"),
        ("qintongli/GSM-Plus", "hf download"),
    ),
    "a task that the suite does not have": (
        None, ("evaluation.suites=[less3]", "evaluation.suite_tasks=[mbpp]"), ("mbpp", "tydiqa"),
    ),
    "a backend that is not installed": (
        None, ("evaluation.suites=[less3]", "evaluation.suite_tasks=[]", "evaluation.backend=vllm"),
        ("vllm is not installed",),
    ),
    "a model argument that belongs elsewhere": (
        None, ("evaluation.model_args={trust_remote_code: true}",), ("section `model`",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_line_before_any_training(bids, project, monkeypatch, case):
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    prepare, options, words = CASES[case]
    if prepare:
        prepare(project)
    options = options(project) if callable(options) else options
    changes = [part for option in options for part in ("--set", option)]
    status, out, err = bids("check", "bids.yaml", "--no-cost", *changes)
    assert status == 2, (out, err)
    message = err[err.index("error:") :].strip()
    assert "\n" not in message
    assert "Traceback" not in out + err
    for word in words:
        assert word in message


def test_a_template_that_refuses_a_system_role(bids, project, tiny_model_folder):
    row = {"messages": [{"role": "system", "content": "Be short."},
                        {"role": "user", "content": "1 or 2?"},
                        {"role": "assistant", "content": "1"}]}  # fmt: skip
    write(project, row)
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    (project / "strict.jinja").write_text(template)
    status, _, err = bids(
        "check", "bids.yaml", "--no-cost", "--set", "model.chat_template=strict.jinja"
    )
    message = err[err.index("error:") :].strip()
    assert status == 2
    assert "\n" not in message
    for word in ("add.jsonl:1", "System role not supported", "model.chat_template"):
        assert word in message
