"""The image's build stage, run as the Dockerfile has it, as far as no Docker engine is needed.

Its COPY lines fill an empty folder, its RUN lines are run there by a shell. Other than in an image,
`/opt/bids` and `/src` lie in a temporary folder, and the base image's Python is the one of this
machine, whose environments see the dependencies that are installed already.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
from distribution.environments import DEPENDENCIES, ROOT, Environment, clean_environment

pytestmark = [pytest.mark.distribution, pytest.mark.timeout(600)]


def instructions(stage: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage of the Dockerfile, its lines joined."""
    text = (ROOT / "docker" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    body = re.search(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM|\Z)", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    return [tuple(line.split(None, 1)) for line in body[1].splitlines() if line.strip()]


def base_python(folder) -> None:
    """Write a `python` as the base image has one, except that dependencies need no download."""
    dependencies = folder / "dependencies.pth"
    dependencies.write_text(DEPENDENCIES)
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh -e\n"{sys.executable}" "$@"\n'
        f'if [ "$1 $2" = "-m venv" ]; then cp {dependencies} "$3"/lib/python3*/site-packages; fi\n'
    )
    program.chmod(0o755)


@pytest.fixture(scope="module")
def image(sources, tmp_path_factory):
    """The root of an image after the build stage."""
    root = tmp_path_factory.mktemp("image")
    tools = tmp_path_factory.mktemp("base")
    base_python(tools)
    (root / "opt").mkdir()
    env = clean_environment(DEVICE="cpu" if version("torch").endswith("+cpu") else "cuda")
    env["PATH"] = f"{tools}:{env['PATH']}"
    workdir = root
    for name, words in instructions("build"):
        if name == "WORKDIR":
            workdir = root / words.lstrip("/")
            workdir.mkdir(parents=True)
        elif name == "COPY":
            *copied, target = words.split()
            for source in copied:
                copy(sources / source, workdir / target, many=len(copied) > 1 or target == "./")
        elif name == "ENV":
            env |= dict(re.findall(r"(PIP_\w+)=(\d+)\b", words))
        elif name == "ARG":
            default = dict([words.split("=", 1)])
            env |= {n: v for n, v in default.items() if n not in {"DEVICE", "PIP_INDEX_URL"}}
        else:
            assert name == "RUN"
            command = words.replace("/opt/bids", str(root / "opt" / "bids"))
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=workdir, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return root


def copy(source, target, *, many: bool) -> None:
    """Copy as COPY does: a folder's content to the target, a file to it or into it."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target / source.name if many else target)


def test_the_image_has_the_whole_program(image, wheel_environment, empty):
    program = Environment(image / "opt" / "bids")
    assert program.installed() == wheel_environment.installed()
    assert program.imported_from(empty) == {program.site}


def test_its_command_starts(image, empty):
    (command,) = (words for name, words in instructions("runtime") if name == "CMD")
    program, *arguments = re.findall(r'"([^"]*)"', command)
    said = Environment(image / "opt" / "bids").run(program, *arguments, cwd=empty)
    assert "Usage: bids" in said
