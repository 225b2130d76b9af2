"""The commands that the documentation tells people to type."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHELL = {"", "bash", "sh", "shell", "console"}


def commands(text: str) -> list[str]:
    """Return the shell commands of a page's fenced blocks, without comments."""
    found = []
    for block in (block for language, block in BLOCK.findall(text) if language in SHELL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            command = re.sub(r"(^|\s)#.*", "", line.strip().removeprefix("$ ")).strip()
            found += [
                part.strip() for part in re.split(r"\s(?:&&|;|\|)\s", command) if part.strip()
            ]
    return found


def without_environment(command: str) -> str:
    """Return a command without the variables that are set for it."""
    return re.sub(r"^(?:[A-Z_]+=\S+ +)*(?:\S*\.venv/bin/)?", "", command)
