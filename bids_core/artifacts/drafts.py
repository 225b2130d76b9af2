"""Unfinished artifacts: folders in `.tmp`, each with a note of the process filling it."""

from __future__ import annotations

import re
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts.holders import holder_content, lives_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HOLDER: Final = ".holder"
_RESUME: Final = "-resume"
_NAME: Final = re.compile(r"(?P<stage>.+)-(?P<fingerprint>[0-9a-f]{32})-(?:[0-9a-f]{32}|resume)")


class Draft:
    """An unfinished artifact: a local folder to fill, and a summary to set."""

    def __init__(self, path: Path, *, resume: Path) -> None:
        self.path = path
        """Folder to write into."""
        self.summary: dict[str, Any] = {}
        """Small facts for people; may be set until the artifact is published."""
        self._resume = resume

    def scratch(self) -> Path:
        """Return a local folder that survives if the computation is killed, to resume from.

        It is removed when the artifact is published.
        """
        self._resume.mkdir(parents=True, exist_ok=True)
        return self._resume


class Drafts:
    """The folder in which artifacts are made.

    Args:
        folder: `.tmp` of a local store; of the cache folder for a remote one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def make(self, name: str) -> Iterator[Path]:
        """Yield the path of a folder for this process to fill, removed when the block ends."""
        path = self.folder / name
        note = path.with_name(f"{name}{_HOLDER}")
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_bytes(holder_content())
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            note.unlink(missing_ok=True)

    @contextmanager
    def artifact(self, stage: str, fingerprint: str) -> Iterator[Draft]:
        """Yield a draft of an artifact; the caller creates its folder."""
        resume = self.folder / f"{stage}-{fingerprint}{_RESUME}"
        with self.make(f"{stage}-{fingerprint}-{uuid.uuid4().hex}") as path:
            yield Draft(path, resume=resume)

    def forget(self, stage: str, fingerprint: str) -> None:
        """Remove what a killed computation of an artifact left to resume from."""
        shutil.rmtree(self.folder / f"{stage}-{fingerprint}{_RESUME}", ignore_errors=True)

    def left(
        self, *, in_the_making: Callable[[str], bool], wanted: Callable[[str], bool]
    ) -> list[Path]:
        """Return drafts that no process is filling and no run will resume from.

        Args:
            in_the_making: whether some process computes the artifact with this key.
            wanted: whether some run refers to the artifact with this key.
        """
        if not self.folder.exists() or self.folder.is_symlink():
            return []
        paths = [
            path
            for path in sorted(self.folder.iterdir())
            if path.is_dir() and not path.is_symlink()
        ]
        return [path for path in paths if not self._kept(path, in_the_making, wanted)]

    def remove(self, path: Path) -> None:
        """Remove a draft and its note."""
        shutil.rmtree(path)
        path.with_name(f"{path.name}{_HOLDER}").unlink(missing_ok=True)

    def _kept(
        self, path: Path, in_the_making: Callable[[str], bool], wanted: Callable[[str], bool]
    ) -> bool:
        note = path.with_name(f"{path.name}{_HOLDER}")
        try:
            alive, noted = lives_here(note.read_bytes()), True
        except FileNotFoundError:
            alive, noted = False, False
        if not path.exists():  # finished meanwhile: the folder is removed first, then the note
            return True
        named = _NAME.fullmatch(path.name)
        if named is None:  # without a note it is not ours
            return alive is not False or not noted
        key = f"{named['stage']}/{named['fingerprint']}"
        if path.name.endswith(_RESUME):
            return in_the_making(key) or wanted(key)
        return alive is True or in_the_making(key)  # on another machine, only the lock shows it
