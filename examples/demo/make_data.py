"""Write the demo's data: a realistic pool, from reasoning-gym's procedural tasks.

    python examples/demo/make_data.py examples/demo/data

The model should get good at five tasks, so each has a few validation instances and held-out test
rows. The pool is what one would scrape together for that: rows of the five tasks, many of some and
few of others; as many rows of ten other tasks; and rows of the five tasks with a wrong answer. A
column `kind` says which is which (target, off_target, wrong_answer). Selection never sees it; the
report uses it to show what happened to each kind. Pool, validation and test rows are disjoint.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reasoning_gym

N_VALIDATION = 6
N_TEST = 24
N_OFF_TARGET = 14
SYSTEM = "Answer only."


@dataclass(frozen=True)
class Task:
    """A task that the model should get good at: correct and wrong rows in the pool, difficulty."""

    name: str
    n_pool: int
    n_wrong: int
    options: dict[str, Any] = field(default_factory=dict)


TARGETS = (
    Task("chain_sum", 56, 12, {"max_terms": 3, "max_digits": 2}),
    Task("spell_backward", 32, 8, {"max_word_len": 6}),
    Task("family_relationships", 20, 6, {"max_family_size": 6}),
    Task("gcd", 14, 4, {"max_value": 100, "max_numbers": 2}),
    Task("sentence_reordering", 8, 2, {"max_words_in_sentence": 7}),
)
OFF_TARGET = (
    "products", "complex_arithmetic", "simple_equations", "letter_counting", "number_sequence",
    "calendar_arithmetic", "count_bits", "coin_flip", "fraction_simplification", "count_primes",
)  # fmt: skip


def questions(name: str, needed: int, options: dict[str, Any]) -> list[tuple[str, str]]:
    """Return distinct questions of a task with their answers."""
    found: dict[str, str] = {}
    for entry in reasoning_gym.create_dataset(name, size=4 * needed, seed=0, **options):
        if entry["answer"]:
            found.setdefault(entry["question"], str(entry["answer"]))
    if len(found) < needed:
        sys.exit(f"{name}: only {len(found)} distinct questions, {needed} needed")
    return list(found.items())[:needed]


def row(question: str, answer: str, **columns: str) -> dict[str, Any]:
    """Return a row as chat messages."""
    roles = (("system", SYSTEM), ("user", question), ("assistant", answer))
    return {"messages": [{"role": r, "content": c} for r, c in roles], **columns}


def with_wrong_answers(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give each question the answer of another one of the same task."""
    answers = [answer for _, answer in pairs]
    generator = random.Random(0)  # noqa: S311 - a seeded order, not a secret
    return [
        (question, generator.choice([other for other in answers if other != answer]))
        for question, answer in pairs
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
    path.write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    """Write pool/, validation/ and test/, one file per task, replacing what was there."""
    for part in ("pool", "validation", "test"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for task in TARGETS:
        counts = (task.n_pool, task.n_wrong, N_VALIDATION, N_TEST)
        left = questions(task.name, sum(counts), task.options)
        parts = []
        for count in counts:
            parts.append(left[:count])
            left = left[count:]
        right, wrong, validation, test = parts
        pool = [row(*pair, kind="target") for pair in right]
        pool += [row(*pair, kind="wrong_answer") for pair in with_wrong_answers(wrong)]
        write(folder / "pool" / f"{task.name}.jsonl", pool)
        write(folder / "validation" / f"{task.name}.jsonl", [row(*pair) for pair in validation])
        write(folder / "test" / f"{task.name}.jsonl", [row(*pair) for pair in test])
    for name in OFF_TARGET:
        pairs = questions(name, N_OFF_TARGET, {})
        write(folder / "pool" / f"{name}.jsonl", [row(*pair, kind="off_target") for pair in pairs])
    print(f"Wrote the demo's data to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
