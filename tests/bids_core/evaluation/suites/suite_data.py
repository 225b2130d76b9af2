"""Small clones of the suites' hub repositories, with rows in the hub's columns."""

import json

MATH = [
    {"problem": f"What is ${n}+{n}$?", "level": "Level 1", "type": "Algebra",
     "solution": f"We add: $\\boxed{{{2 * n}}}$."}
    for n in range(2, 7)
]  # fmt: skip
QUESTIONS = [
    {"question": f"Which of these numbers is larger than {n} by exactly one?",
     "subject": "anatomy", "choices": [str(n), str(n + 1), str(n + 2), str(n + 3)], "answer": 1}
    for n in range(8)
]  # fmt: skip
SUMS = [
    {"question": f"Ann has {n} pears and buys {n} more. How many pears has she now?",
     "solution": f"{n} + {n} = {2 * n}\n#### {2 * n}", "answer": str(2 * n)}
    for n in range(2, 10)
]  # fmt: skip
LOGIC = [
    {"input": f"not ( {a} and {b} ) is", "target": str(not (a and b))}
    for a in (True, False)
    for b in (True, False)
]
FUNCTIONS = [
    {"task_id": f"HumanEval/{n}", "prompt": f'def add{n}(x):\n    """Add {n} to x."""\n',
     "canonical_solution": f"    return x + {n}\n", "entry_point": f"add{n}",
     "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n"}
    for n in range(3)
]  # fmt: skip
PROGRAMS = [
    {"task_id": 11 + n, "text": f"Write a function that adds {n} to a number.",
     "code": f"def add{n}(x):\n  return x + {n}", "test_setup_code": "", "challenge_test_list": [],
     "test_list": [f"assert add{n}({x}) == {x + n}" for x in range(3)]}
    for n in range(3)
]  # fmt: skip
INSTRUCTIONS = [
    {"key": 1000 + n, "prompt": f"Write {n} words without a comma.",
     "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None}]}
    for n in range(3)
]  # fmt: skip
PASSAGES = [
    {"id": f"{language}-{n}", "title": "Rivers", "context": f"The river is {n} km long.",
     "question": "How long is the river?",
     "answers": {"text": [f"{n} km"], "answer_start": [13]}}
    for language in ("english", "finnish")
    for n in (10, 20, 30)
]  # fmt: skip

CLONES = {
    "openai/openai_humaneval": {"openai_humaneval": {"test": FUNCTIONS}},
    "google-research-datasets/mbpp": {"full": {"test": PROGRAMS}},
    "SaylorTwift/bbh": {"boolean_expressions": {"test": LOGIC}},
    "cais/mmlu": {"anatomy": {"test": QUESTIONS[5:], "dev": QUESTIONS[:5]}},
    "qintongli/GSM-Plus": {"default": {"test": SUMS}},
    "EleutherAI/hendrycks_math": {"algebra": {"train": MATH[:1], "test": MATH[1:]}},
    "google/IFEval": {"default": {"train": INSTRUCTIONS}},
    "google-research-datasets/tydiqa": {
        "secondary_task": {"train": PASSAGES[::3], "validation": PASSAGES}
    },
}


def write_clones(folder, clones=CLONES):
    """Write clones as `hf download --repo-type dataset --local-dir` would leave them."""
    for name, configs in clones.items():
        target = folder / name
        card = ["---", "configs:"]
        for config, splits in configs.items():
            card += [f"- config_name: {config}", "  data_files:"]
            for split, rows in splits.items():
                path = target / config / f"{split}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                card += [f"  - split: {split}", f"    path: {config}/{split}.jsonl"]
        (target / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder
