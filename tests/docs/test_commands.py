"""Every command in the docs is one that the program has, with options that it has."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
import typer
from page_commands import PAGES, ROOT, commands, without_environment

from flows.cli import app

INLINE = re.compile(r"`(?:\.venv/bin/)?(bids [a-z][^`]*)`")
PROGRAM = typer.main.get_command(app)


def find(words: list[str]) -> tuple[object, list[str]]:
    """Return the command that the words name, and the words behind its name."""
    command = PROGRAM
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_options(command, words: list[str]) -> None:
    """Refuse options that the command does not have."""
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in words:
        name = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", name):
            assert name in known | {"--help", "-h"}, f"no option {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_blocks_can_be_typed(path):
    for command in map(without_environment, commands(path.read_text(encoding="utf-8"))):
        if not command.startswith("bids ") or "COMMAND" in command or "[OPTIONS]" in command:
            continue
        words = shlex.split(re.sub(r"\s[12]?>\S*|\s>\s\S+|\s&$", "", command))[1:]
        found, rest = find(words)
        check_options(found, rest)
        if "..." not in rest:
            found.make_context("bids", list(rest))  # refuses what the program would refuse


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_sentences_exist(path):
    for text in INLINE.findall(path.read_text(encoding="utf-8")):
        for command in re.split(r"\s*[|]\s*(?=bids)", " ".join(text.split())):
            words = re.sub(r"\|\S+", "", command).split()[1:]
            found, rest = find([word for word in words if word != "COMMAND"])
            check_options(found, rest)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_else_is_typed_is_there(path):
    """Targets of make, programs of ours, extras of the package."""
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make (\w[\w-]*)", text, re.MULTILINE):
        assert target in targets, f"make {target}"
    for program in re.findall(r"python3? ((?:docs|examples|benchmarks)/\S+?\.py)", text):
        assert (ROOT / program).is_file(), program
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"(?:bids-select|\.)\[([a-z0-9,]+)\]", text):
        for extra in extras.split(","):
            assert extra in project["optional-dependencies"], extra


def test_what_cannot_be_typed_is_found(tmp_path):
    """The checks above see what they have to see."""
    for command in ("bids selct m.npy", "bids select m.npy --buget 3", "bids select --budget"):
        (tmp_path / "page.md").write_text(f"```\n{command}\n```\n", encoding="utf-8")
        with pytest.raises((AssertionError, Exception)):  # Typer has kinds of its own
            test_commands_in_blocks_can_be_typed(tmp_path / "page.md")
