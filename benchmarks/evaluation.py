"""Held-out evaluation against plain lm-eval, on the demo's test tasks, with equal scores.

The test tasks of a configuration (default: the demo's, with generated answers; a task `mmlu`, if
there is one, also as multiple choice) go through lm-eval's evaluator with (a) lm-eval's Hugging
Face model at its default batch size of 1, (b) the same with a batch size found by hand, (c) our
model for suites; and the tasks also through (d) our own evaluation, which computes the held-out
answer loss of every row in addition. The baseline (ratio 1.00) is (a). `--auto` adds lm-eval's
batch_size="auto", which tries batches of the model's full length until memory runs out: on a CPU
with 8,192 positions that alone takes longer than everything else. Scores are compared row by row,
and differences are printed.

    python examples/demo/make_data.py examples/demo/data   (or `make demo`)
    python benchmarks/evaluation.py --json out.json
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as run_harness
from lm_eval.models.huggingface import HFLM

from bids_core.config import TestTask, load_config
from bids_core.data import prepare
from bids_core.evaluation import (
    EvaluationRow,
    evaluate,
    evaluation_mode,
    offline_and_quiet,
    plan_tasks,
    stop_ids,
)
from bids_core.evaluation.suites import SuiteModel
from bids_core.models import load_base, load_tokenizer
from bids_core.progress import silent

DEMO = Path(__file__).parents[1] / "examples" / "demo" / "config.yaml"
LETTERS = ["A", "B", "C", "D"]
Rows = dict[str, list[EvaluationRow]]
Answers = dict[str, list[float]]


def plain_task(task: TestTask, rows: list[EvaluationRow], *, choice: bool) -> ConfigurableTask:
    """Return a task as one would write it in YAML for lm-eval."""
    documents = [
        {"prompt": row.prompt_text, "reference": row.reference, "index": index}
        for index, row in enumerate(rows)
    ]
    common = {
        "task": f"{task.task}_choice" if choice else task.task,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(documents)},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "num_fewshot": 0,
    }
    if choice:
        return ConfigurableTask(
            config={
                **common, "output_type": "multiple_choice", "doc_to_choice": LETTERS,
                "doc_to_target": lambda doc: LETTERS.index(doc["reference"]),
                "target_delimiter": "",
                "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            }
        )  # fmt: skip
    return ConfigurableTask(
        config={
            **common, "output_type": "generate_until", "doc_to_target": "{{reference}}",
            "generation_kwargs": {
                "until": ["<|im_end|>"], "max_gen_toks": task.max_new_tokens, "do_sample": False,
            },
            "filter_list": [
                {"name": "stripped", "filter": [
                    {"function": "remove_whitespace"}, {"function": "take_first"}]}
            ],
            "metric_list": [
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
            ],
        }
    )  # fmt: skip


def through_harness(model: Any, tasks: tuple[TestTask, ...], rows: Rows) -> Answers:
    """Run all tasks through lm-eval's evaluator; return the row scores of each."""
    with offline_and_quiet():
        made = [plain_task(task, rows[task.task], choice=False) for task in tasks]
        made += [plain_task(t, rows[t.task], choice=True) for t in tasks if t.task == "mmlu"]
        results = run_harness(
            model, {"tasks": {t.config.task: t for t in made}, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
        )  # fmt: skip
    found = {}
    for task in made:
        samples = sorted(results["samples"][task.config.task], key=lambda s: s["doc_id"])
        metric = "acc" if task.OUTPUT_TYPE == "multiple_choice" else "exact_match"
        found[task.config.task] = [float(sample[metric]) for sample in samples]
    return found


def measure(run: Callable[[], Answers], repeats: int) -> tuple[float, Answers]:
    """Return the median time of several runs in seconds, and their result."""
    seconds, found = [], {}
    for _ in range(repeats):
        started = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), found


def differences(one: Answers, other: Answers) -> int:
    """Count the rows with different scores."""
    shared = [name for name in one if name in other]
    return sum(a != b for name in shared for a, b in zip(one[name], other[name], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, default=DEMO)
    parser.add_argument("--limit", type=int, help="test rows of each task")
    parser.add_argument("--batch-size", type=int, default=16, help="of the second baseline")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--auto", action="store_true", help='also batch_size="auto"')
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    changes = [f"test.{i}.limit={options.limit}" for i in range(6)] if options.limit else []
    config = load_config(options.config, changes)
    tokenizer = load_tokenizer(config.model)
    data = prepare(config, tokenizer, base_dir=Path.cwd())
    model: Any = load_base(config.model)
    tasks = config.test
    rows = plan_tasks(data.test, tokenizer, tasks, max_positions=None, code_limits=None).rows
    budget = config.evaluation.tokens_per_batch

    def plain(batch_size: int | str) -> Callable[[], Answers]:
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        return lambda: through_harness(lm, tasks, rows)

    def suites() -> Answers:
        lm = SuiteModel(
            model, tokenizer, stop_ids=stop_ids(model, tokenizer), tokens_per_batch=budget,
            on_progress=silent,
        )  # fmt: skip
        return through_harness(lm, tasks, rows)

    def own() -> Answers:
        samples = evaluate(model, tokenizer, data.test, tasks, tokens_per_batch=budget).samples
        return {str(name): list(part["score"]) for name, part in samples.groupby("task")}

    variants = {
        "lm-eval, batch size 1 (default)": plain(1),
        f"lm-eval, batch size {options.batch_size}": plain(options.batch_size),
        "ours, suites' model": suites,
        "ours, own tasks, with answer loss": own,
    }
    if options.auto:
        variants["lm-eval, batch size auto"] = plain("auto")
    results: dict[str, dict[str, float]] = {}
    reference: Answers = {}
    n_rows = sum(len(part) for part in rows.values())
    print(f"{n_rows} rows of {len(tasks)} tasks; {config.model.path}")
    print("variant | seconds | times the baseline's speed | rows scored differently")
    with evaluation_mode(model, tokenizer):
        for name, run in variants.items():
            seconds, found = measure(run, options.repeats)
            reference = reference or found
            first = next(iter(results.values()), {"seconds": seconds})["seconds"]
            results[name] = {
                "seconds": seconds, "ratio": first / seconds,
                "differences": differences(reference, found),
            }  # fmt: skip
            line = results[name]
            print(f"{name} | {seconds:.2f} | {line['ratio']:.2f} | {line['differences']}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
