"""The commands that README and the first pages tell a newcomer to type, typed, on tiny data."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_project import rows, write_rows

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TINY = {
    "data": {"max_length": 64},
    "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
    "warmup": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
    "gradients": {"dim": 64},
    "finetune": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
}


def commands(page: str) -> list[list[str]]:
    """Return the words of a page's `bids` commands, up to README's second part."""
    text = (ROOT / page).read_text(encoding="utf-8").split("\n## Documentation")[0]
    blocks = [block for language, block in BLOCK.findall(text) if not language]
    lines = [line.partition("#")[0].strip() for b in blocks for line in b.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("bids ")]


def write_given(words: list[str]) -> None:
    """Write the files that an option of `bids init` names: a pool, a folder of tasks."""
    for option, value in pairwise(words):
        if option == "--pool":
            write_rows(Path(value), rows("add", 0, 20) + rows("max", 0, 8))
        if option in ("--skills", "--test"):
            start = 50 if option == "--skills" else 60
            for kind in ("add", "max"):
                write_rows(Path(value) / f"{kind}.jsonl", rows(kind, start, start + 4))


def fill(config: Path, model: Path) -> None:
    """Write rows to the places that a fresh configuration names, and name a tiny model in it."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content |= TINY | {"model": {"path": str(model), "dtype": "float32", "device": "cpu"}}
    folder = config.parent
    for entry in content["pool"]:
        write_rows(folder / entry["path"], rows("add", 0, 20) + rows("max", 0, 8))
    for split, start in (("validation", 50), ("test", 60)):
        for entry, kind in zip(content[split], ("add", "max"), strict=False):
            write_rows(folder / entry["path"], rows(kind, start, start + 4))
            if split == "test":
                entry["max_new_tokens"] = 3
    config.write_text(yaml.safe_dump(content), encoding="utf-8")


def look_into(run: Path, bids) -> None:
    """Type what docs/report.md says can be asked of a run."""
    picked = pd.read_parquet(run / "ranking.parquet")["row_id"][0]
    given = {"runs/NAME": str(run), "ROW-ID": picked}
    asked = [words for words in commands("docs/report.md") if words[0] in ("explain", "audit")]
    assert len(asked) == 3
    for words in asked:
        status, said, complained = bids(*(given.get(word, word) for word in words))
        assert status == 0, f"bids {shlex.join(words)}: {complained}"
        assert picked in said or words[0] == "audit"


@pytest.mark.parametrize("page", ["README.md", "docs/your-data.md"])
def test_what_the_page_says_can_be_typed(page, prefect_server, bids, tmp_path, monkeypatch,
                                         tiny_model_folder):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.save("matrix.npy", np.random.default_rng(0).normal(size=(40, 6)))
    typed = commands(page)
    assert [words[0] for words in typed][:2] == ["init", "check"]
    for words in typed:
        write_given(words)
        status, said, complained = bids(*words)
        assert status == 0, f"bids {shlex.join(words)}: {complained}{said}"
        if words[0] == "init":
            fill(tmp_path / words[1] / "bids.yaml", tiny_model_folder)
        if words[0] == "run":
            assert "report.html" in said
            look_into(next(iter(tmp_path.glob("runs/*"))), bids)
    assert next(iter(tmp_path.glob("runs/*/selected/bids.jsonl"))).stat().st_size
