"""Write MMLU validation and test rows from the text inside lm-eval's wheel.

    python examples/real_data/make_mmlu.py examples/real_data/data

They are MMLU's development questions, five a subject; the test split itself is not in the wheel.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import yaml

N_VALIDATION = 40


def questions() -> Iterator[dict[str, str]]:
    """Yield question, letter of the answer, and subject."""
    folder = files("lm_eval").joinpath("tasks/mmlu/flan_cot_fewshot")
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not path.name.endswith(".yaml"):
            continue
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for sample in content.get("fewshot_config", {}).get("samples", []):
            answer = re.search(r"answer is \(?([A-D])\)?", sample["target"])
            if answer:
                yield {
                    "prompt": f"{sample['question']}\nAnswer with the letter only.",
                    "completion": answer[1],
                    "subject": content["dataset_name"],
                }


def main(folder: Path) -> None:
    """Write mmlu_validation.jsonl and mmlu_test.jsonl."""
    rows = list(questions())
    random.Random(0).shuffle(rows)  # noqa: S311 - a seeded order, not a secret
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"validation": rows[:N_VALIDATION], "test": rows[N_VALIDATION:]}
    for name, part in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"mmlu_{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{len(part)} {name} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
