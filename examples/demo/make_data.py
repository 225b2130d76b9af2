"""Write the demo's data: procedural tasks from reasoning-gym, and MMLU text from lm-eval's wheel.

    python examples/demo/make_data.py examples/demo/data

Six tasks of five capabilities. The pool is unbalanced on purpose, as real pools are: 150 rows of
the commonest task, 30 of the rarest. Pool, validation and test rows are disjoint.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import reasoning_gym
import yaml

N_VALIDATION = 8
N_TEST = 24


@dataclass(frozen=True)
class Task:
    """A procedural task: its name in reasoning-gym, how many pool rows, and its difficulty."""

    name: str
    n_pool: int
    options: dict[str, Any] = field(default_factory=dict)


TASKS = (
    Task("chain_sum", 150, {"max_terms": 3, "max_digits": 2}),
    Task("gcd", 80, {"max_value": 100, "max_numbers": 2}),
    Task("spell_backward", 60, {"max_word_len": 6}),
    Task("family_relationships", 50, {"max_family_size": 6}),
    Task("base_conversion", 30, {"max_base": 10, "max_value": 200}),
)
N_POOL_MMLU = 30


def procedural_rows(task: Task) -> list[dict[str, str]]:
    """Return distinct questions with their answers, enough for all three splits."""
    needed = task.n_pool + N_VALIDATION + N_TEST
    rows: dict[str, dict[str, str]] = {}
    for entry in reasoning_gym.create_dataset(task.name, size=4 * needed, seed=0, **task.options):
        if entry["answer"] is not None:
            rows.setdefault(
                entry["question"], {"prompt": entry["question"], "completion": entry["answer"]}
            )
    if len(rows) < needed:
        sys.exit(f"{task.name}: only {len(rows)} distinct questions, {needed} needed")
    return list(rows.values())[:needed]


def mmlu_rows() -> Iterator[dict[str, str]]:
    """Yield MMLU's development questions, five a subject, with the letter of the answer."""
    folder = files("lm_eval").joinpath("tasks/mmlu/flan_cot_fewshot")
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not path.name.endswith(".yaml"):
            continue
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for sample in content.get("fewshot_config", {}).get("samples", []):
            answer = re.search(r"answer is \(?([A-D])\)?", sample["target"])
            if answer and len(sample["question"]) < 320:  # short ones: this is a small machine
                yield {
                    "prompt": f"{sample['question']}\nAnswer with the letter only.",
                    "completion": answer[1],
                    "subject": content["dataset_name"],
                }


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    """Write pool/, validation/ and test/, a file a task."""
    tables = {task.name: (task.n_pool, procedural_rows(task)) for task in TASKS}
    mmlu = list(mmlu_rows())
    random.Random(0).shuffle(mmlu)  # noqa: S311 - a seeded order, not a secret
    tables["mmlu"] = (N_POOL_MMLU, mmlu)
    for name, (n_pool, rows) in tables.items():
        ends = (n_pool, n_pool + N_VALIDATION, n_pool + N_VALIDATION + N_TEST)
        write(folder / "pool" / f"{name}.jsonl", rows[: ends[0]])
        write(folder / "validation" / f"{name}.jsonl", rows[ends[0] : ends[1]])
        write(folder / "test" / f"{name}.jsonl", rows[ends[1] : ends[2]])
    print(f"Wrote the demo's data to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
