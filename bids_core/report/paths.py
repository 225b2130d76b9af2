"""Keeps absolute paths off the page: it is read elsewhere and must not reveal who wrote it."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Any, Final

_PATH: Final = re.compile(r"(?<![\w./:~<>-])/[\w@+.-]+(?:/[\w@+.*?\[\]{}-]+)+")
"""An absolute path of two parts or more within a text; not the path of a URL."""


class PathShown:
    """Shows paths as seen from a folder.

    Args:
        folder: where the page is; None: only the last part of a path is shown.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()

    def of(self, value: Any) -> Any:
        """Return a configuration's value with all absolute paths in it replaced."""
        if isinstance(value, dict):
            return {key: self.of(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(part) for part in value]
        if isinstance(value, PurePath):
            return self.text(str(value))
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return a text with all absolute paths in it replaced."""
        if os.path.isabs(text) and "\n" not in text and " " not in text:
            return self._shown(text)
        return _PATH.sub(lambda found: self._shown(found.group()), text)

    def _shown(self, path: str) -> str:
        last = f".../{PurePath(path).name}"
        if self._folder is None:
            return last
        shared = os.path.commonpath([path, str(self._folder)])
        near = len(PurePath(shared).parts) > 2  # more than the root and /home, say
        return os.path.relpath(path, self._folder) if near else last
