"""Write a pool of real rows, its twin with swapped answers, validation and test rows.

    export BIDS_REAL_DATA=...      # folder with t0_pool/ gsm8k/ mbpp/
    python examples/real_comparison/make_data.py examples/real_comparison/data

There are nine target tasks, with 10 validation instances each, held-out test rows, and between 12
and 180 rows in the pool. The rest of the pool (nearly three quarters) is from other sources: other
templates of the T0 sample, and procedural tasks. Rows are short, so that a CPU is enough. A column
`kind` says which is which; selection never sees it.

The twin, `pool_swapped`, has the same rows, but a fifth of those whose source has several answers
have the answer of another row of the source (kinds `swapped target`, `swapped off target`).

Test rows of a task are not in the pool; sources with several questions per text (ropes, cosmos) are
used for the pool only.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reasoning_gym

SEED = 0
N_VALIDATION = 10
MAX_CHARACTERS = 850
"""Longest row, question and answer together, in characters: about 200 tokens."""
N_OFF_SOURCE, N_OFF_PROCEDURAL = 47, 20
SWAPPED_SHARE = 0.2

Pair = tuple[str, str]


@dataclass(frozen=True)
class Task:
    """A target task: where its rows are from, and how many go into pool and test."""

    name: str
    n_pool: int
    n_test: int
    source: str
    options: dict[str, Any] = field(default_factory=dict)


TASKS = (
    Task("gsm8k", 180, 100, "gsm8k"),
    Task("mbpp", 60, 100, "mbpp"),
    Task("gigaword_title", 50, 110, "t0:gigaword_make_a_title"),
    Task("quartz", 50, 120, "t0:quartz_use_info_from_question_paragraph"),
    Task("qasc", 40, 120, "t0:qasc_qa_with_combined_facts_1"),
    Task("chain_sum", 20, 120, "procedural:chain_sum", {"max_terms": 3, "max_digits": 2}),
    Task("spell_backward", 20, 120, "procedural:spell_backward", {"max_word_len": 6}),
    Task("ag_news", 15, 120, "t0:ag_news_classify_with_choices_question_first"),
    Task("mrpc_paraphrase", 12, 110, "t0:glue_mrpc_generate_paraphrase"),
)
OFF_T0 = (
    "adversarial_qa_dbidaf_based_on", "amazon_polarity_Is_this_review_negative",
    "amazon_polarity_would_you_buy", "common_gen_choice_in_concept_centric_sentence_generation",
    "commonsense_qa_answer_to_question", "cosmos_qa_context_description_question_answer_text",
    "dbpedia_14_given_a_list_of_category_what_does_the_title_belong_to",
    "dream_generate_last_utterance", "glue_qqp_answer", "kilt_tasks_hotpotqa_complex_question",
    "paws_labeled_final_Meaning", "paws_labeled_final_context_question", "quarel_choose_between",
    "ropes_plain_no_background", "rotten_tomatoes_Movie_Expressed_Sentiment",
    "samsum_Sum_up_the_following_dialogue", "sciq_Direct_Question_Closed_Book_",
    "social_i_qa_Generate_the_question_from_the_answer", "wiki_bio_key_content",
    "wiki_qa_Decide_good_answer", "wiqa_effect_with_label_answer",
    "wiqa_which_of_the_following_is_the_supposed_perturbation", "xsum_article_DOC_summary",
    "yelp_review_full_format_rating",
)  # fmt: skip
OFF_PROCEDURAL = (
    "products", "complex_arithmetic", "simple_equations", "letter_counting", "number_sequence",
    "calendar_arithmetic", "count_bits", "coin_flip", "fraction_simplification", "count_primes",
)  # fmt: skip


def jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def t0(data: Path, name: str) -> list[Pair]:
    """Return question and answer of the rows of one T0 template."""
    rows = jsonl(data / "t0_pool" / f"{name}.jsonl")
    return [
        (row["prompt"].strip(), row["completion"].removesuffix("<|endoftext|>").strip())
        for row in rows
    ]


def procedural(name: str, options: dict[str, Any], size: int) -> list[Pair]:
    """Return question and answer of generated rows."""
    entries = reasoning_gym.create_dataset(name, size=4 * size, seed=SEED, **options)
    return [
        (f"{entry['question']}\nAnswer only.", str(entry["answer"]))
        for entry in entries
        if entry["answer"]
    ]


def mbpp(data: Path, first: int, last: int) -> list[Pair]:
    """Return question and code of the MBPP rows with these task ids."""
    return [
        (f"{row['text']}\nYour code should pass this test: {row['test_list'][0]}", row["code"])
        for row in jsonl(data / "mbpp" / "mbpp.jsonl")
        if first <= row["task_id"] <= last
    ]


def gsm8k(data: Path, part: str) -> list[Pair]:
    """Return question and answer of a part of GSM8K."""
    rows = jsonl(data / "gsm8k" / f"{part}.jsonl")
    return [(row["question"], row["answer"]) for row in rows]


def usable(pairs: list[Pair], generator: random.Random) -> list[Pair]:
    """Return the short rows with an answer, each question once, in random order."""
    found: dict[str, str] = {}
    for question, answer in pairs:
        if question and answer and len(question) + len(answer) <= MAX_CHARACTERS:
            found.setdefault(question, answer)
    kept = list(found.items())
    generator.shuffle(kept)
    return kept


def parts(task: Task, data: Path, generator: random.Random) -> tuple[list[Pair], ...]:
    """Return pool, validation and test rows of a task; published splits are kept apart."""
    sizes = (task.n_pool, N_VALIDATION, task.n_test)
    if task.source == "gsm8k":
        pools = [gsm8k(data, "train"), gsm8k(data, "train"), gsm8k(data, "test")]
    elif task.source == "mbpp":
        pools = [mbpp(data, 601, 974), mbpp(data, 511, 600), mbpp(data, 11, 510)]
    else:
        kind, _, name = task.source.partition(":")
        pairs = t0(data, name) if kind == "t0" else procedural(name, task.options, sum(sizes))
        pools = [pairs, pairs, pairs]
    taken: set[str] = set()
    found = []
    for pairs, size in zip(pools, sizes, strict=True):
        left = [pair for pair in usable(pairs, generator) if pair[0] not in taken]
        if len(left) < size:
            sys.exit(f"{task.name}: {len(left)} rows left, {size} needed")
        found.append(left[:size])
        taken.update(question for question, _ in left[:size])
    return tuple(found)


def swapped(pairs: list[Pair], generator: random.Random) -> dict[str, str]:
    """Return, for a fifth of the questions, another row's answer that differs from their own."""
    answers = [answer for _, answer in pairs]
    if len(set(answers)) < 2:
        return {}
    chosen = generator.sample(pairs, round(SWAPPED_SHARE * len(pairs)))
    return {
        question: generator.choice([other for other in answers if other != answer])
        for question, answer in chosen
    }


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
    path.write_text(text, encoding="utf-8")


def write_pool(folder: Path, name: str, pairs: list[Pair], kind: str) -> None:
    """Write a source of the pool and its twin."""
    wrong = swapped(pairs, random.Random(f"{SEED} {name}"))  # noqa: S311 - not a secret
    write(
        folder / "pool" / f"{name}.jsonl",
        [{"prompt": q, "completion": a, "kind": kind} for q, a in pairs],
    )
    twin = [
        {
            "prompt": q,
            "completion": wrong.get(q, a),
            "kind": f"swapped {kind}" if q in wrong else kind,
        }
        for q, a in pairs
    ]
    write(folder / "pool_swapped" / f"{name}.jsonl", twin)


def main(folder: Path) -> None:
    """Write pool/, pool_swapped/, validation/ and test/, replacing what was there."""
    if "BIDS_REAL_DATA" not in os.environ:
        sys.exit("Set BIDS_REAL_DATA to the folder that holds t0_pool/, gsm8k/ and mbpp/.")
    data = Path(os.environ["BIDS_REAL_DATA"])
    for part in ("pool", "pool_swapped", "validation", "test"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for task in TASKS:
        generator = random.Random(f"{SEED} {task.name}")  # noqa: S311
        pool, validation, test = parts(task, data, generator)
        write_pool(folder, task.name, pool, "target")
        for part, pairs in (("validation", validation), ("test", test)):
            rows = [{"prompt": question, "completion": answer} for question, answer in pairs]
            write(folder / part / f"{task.name}.jsonl", rows)
    for name in OFF_T0:
        generator = random.Random(f"{SEED} {name}")  # noqa: S311
        write_pool(folder, name, usable(t0(data, name), generator)[:N_OFF_SOURCE], "off target")
    for name in OFF_PROCEDURAL:
        generator = random.Random(f"{SEED} {name}")  # noqa: S311
        pairs = usable(procedural(name, {}, N_OFF_PROCEDURAL), generator)
        write_pool(folder, name, pairs[:N_OFF_PROCEDURAL], "off target")
    print(f"Wrote the data to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
