"""Every command in the documentation is typed by a test; those that cannot be say why.

README and docs/your-data.md are typed by test_first_steps, on data that `bids init` is given. All
others are typed here, on one tiny project that stands in for every configuration they name, so that
they share one warmup and one set of gradients.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from page_commands import PAGES, ROOT, commands, without_environment
from tiny_project import rows, write_project, write_rows

PROGRAMS = ("bids", "prefect", "docker", "hf", "make", "pip", "python")
FIRST_STEPS = ("README.md", "docs/your-data.md", "docs/cli.md")

ELSEWHERE = {
    r"bids deploy": "tests/deployments: needs a server that stays",
    r"bids plan": "tests/flows/test_plan_settings.py: needs a pool with 20 picks",
    r"prefect (server|worker) start": "tests/stack.py starts them as processes",
    r"prefect deployment run": "tests/deployments/test_compare.py and test_deploy.py",
    r"pip install \.": "tests/distribution installs the wheel and the sdist",
    r"make (setup|test|lint)": ".ci/run",
    r"make docs": "tests/docs builds the site in the same way",
}
"""Commands that other tests type, and where."""
NOT_HERE = {
    r"docker ": "no container engine; tests/deployments/test_docker.py lints files and image",
    r"hf download": "the hub cannot be reached",
    r"make (fuzz|faults)": "the long forms of tests/fuzz and tests/faults",
    r"pip install (--no-deps|lazy-loader)": "goes into LLaMA-Factory's or axolotl's environment",
    r"make demo": "fetches a model of 90 MB and trains for minutes",
    r"python benchmarks/": "takes hours; tests/benchmarks runs the functions of controlled.py",
    r"python examples/real_comparison/make_data\.py": "reads data sets that are not shipped",
}
"""Commands that no test types, and why."""
STAND_INS = {
    "runs/NAME": "runs/demo",
    "ROW-ID": "rank:2",
    "old-run": "my-project",
    "0,1,2": "0",  # seeds
    "--full": "--full --subsets 2",
}
"""What is typed in the place of a word: what the page leaves to the reader, and what takes long."""
ORDER = ("run", "check", "show", "select", "analyze", "explain", "audit", "compare", "validate",
         "store")  # fmt: skip


def typed_somewhere() -> dict[str, set[str]]:
    """Return what the pages tell to type, and on which pages."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for line in map(without_environment, commands(page.read_text(encoding="utf-8"))):
            command = line.removeprefix("do ")  # in a loop
            if command.split()[0] in PROGRAMS and "[OPTIONS]" not in command:
                found.setdefault(command, set()).add(str(page.relative_to(ROOT)))
    return found


def typed_here() -> list[str]:
    """Return the commands that are typed here, in an order in which they can be."""
    found = [
        command
        for command, pages in typed_somewhere().items()
        if command.startswith("bids ")
        and not pages & set(FIRST_STEPS)
        and not any(re.match(pattern, command) for pattern in ELSEWHERE)
    ]
    return sorted(found, key=lambda command: ORDER.index(command.split()[1]))


def programs_typed_here() -> list[str]:
    """Return the programs of the examples that are typed here."""
    return [command for command in typed_somewhere() if "examples/make_mmlu.py" in command]


def test_every_command_is_typed_or_says_why_not():
    told = typed_somewhere()
    for command, pages in told.items():
        known = command in (*typed_here(), *programs_typed_here()) or (
            command.startswith("bids ") and bool(pages & set(FIRST_STEPS))
        )
        listed = [p for p in (*ELSEWHERE, *NOT_HERE) if re.match(p, command)]
        assert known or listed, f"{pages}: {command}"
    for pattern in (*ELSEWHERE, *NOT_HERE):
        assert any(re.match(pattern, command) for command in told), f"stale: {pattern}"


@pytest.mark.parametrize("command", programs_typed_here())
def test_programs_of_the_examples_can_be_typed(command, tmp_path):
    _, program, out = command.split()
    done = subprocess.run([sys.executable, ROOT / program, tmp_path / out], check=False)
    assert done.returncode == 0
    assert len((tmp_path / out).read_text(encoding="utf-8").splitlines()) > 100


def configure(model: Path) -> None:
    """Write a tiny project, under every name that the pages give a configuration."""
    config = write_project(Path(), model)
    write_rows(Path("pool/add.jsonl"), rows("add", 0, 45))  # more than a budget of 40
    write_rows(Path("pool.jsonl"), rows("add", 0, 3))
    config["gradients"]["rows_per_shard"] = 100
    config["selection"]["compare"] = ["less", "random"]
    for section in ("pool", "validation", "test"):
        for entry in config[section]:
            entry["path"] = str(Path(entry["path"]).absolute())
    named = {word for command in typed_here() for word in shlex.split(command)
             if word.endswith(".yaml")}  # fmt: skip
    for name in named:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = config | {"name": "demo" if "real_data" in name else "my-project"}
        path.write_text(yaml.safe_dump(mine), encoding="utf-8")
    shown = config | {"pool": [{"path": "pool.jsonl"}]}
    Path("bids.yaml").write_text(yaml.safe_dump(shown), encoding="utf-8")
    generator = np.random.default_rng(0)
    np.save("A.npy", generator.normal(size=(600, 6)))
    Path("tasks.txt").write_text("a\na\nb\nb\nc\nc\n", encoding="utf-8")


def test_the_rest_of_the_docs_can_be_typed(prefect_server, bids, tmp_path, monkeypatch,
                                           tiny_model_folder):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    configure(tiny_model_folder)
    for command in typed_here():
        words = " ".join(STAND_INS.get(word, word) for word in shlex.split(command)[1:])
        status, said, complained = bids(*shlex.split(words))
        assert status == 0, f"bids {words}: {complained}{said}"
        assert said.strip(), words
    assert len(pd.read_parquet("picks.parquet")) == 90
    assert Path("runs/demo/report.html").stat().st_size
