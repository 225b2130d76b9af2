"""Write the demo's procedural tasks, from reasoning-gym.

    python examples/demo/make_data.py examples/demo/data

With the MMLU questions (examples/make_mmlu.py), six tasks of five capabilities. The pool is
unbalanced on purpose, as real pools are: 150 rows of the commonest task, 30 of the rarest. Pool,
validation and test rows are disjoint.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reasoning_gym

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


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    """Write pool/, validation/ and test/, a file a task."""
    for task in TASKS:
        rows = procedural_rows(task)
        test = task.n_pool + N_VALIDATION
        write(folder / "pool" / f"{task.name}.jsonl", rows[: task.n_pool])
        write(folder / "validation" / f"{task.name}.jsonl", rows[task.n_pool : test])
        write(folder / "test" / f"{task.name}.jsonl", rows[test : test + N_TEST])
    print(f"Wrote the demo's data to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
