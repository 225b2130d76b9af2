"""Write MMLU questions with their answers, from the text inside lm-eval's wheel.

    python examples/make_mmlu.py data/mmlu.jsonl [--max-characters 320]

These are MMLU's development questions, five per subject, in a seeded order; the test split itself
is not in the wheel. A configuration takes parts of them with `start` and `limit`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import yaml


def questions() -> Iterator[dict[str, str]]:
    """Yield question, answer letter and subject."""
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


def main() -> None:
    """Write the questions as JSONL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--max-characters", type=int, default=10_000, help="of a prompt")
    options = parser.parse_args()
    rows = [row for row in questions() if len(row["prompt"]) <= options.max_characters]
    random.Random(0).shuffle(rows)  # noqa: S311 - a seeded order, not a secret
    options.path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    options.path.write_text(text, encoding="utf-8")
    print(f"Wrote {len(rows)} questions to {options.path}")


if __name__ == "__main__":
    main()
