"""Locks: which process computes an artifact when several need it at the same time.

A lock is a small file in the store, `.locks/<stage>-<fingerprint>/<generation>`, created
exclusively (`O_EXCL` in a folder, `If-None-Match: *` on S3). Its holder rewrites it every few
seconds. A waiter checks whether the bytes change, by its own clock, so clocks need not agree. If
they stay the same for `EXPIRY_SECONDS`, the holder is dead, hung or cut off, and the next
generation may be created, which again only one process can do. A holder that died on the waiter's
own machine is noticed at once.

A lock only saves work. Publishing an artifact is always atomic, so a lost lock, or a file system
without exclusive creation, costs no more than a second computation.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bids_core.artifacts.holders import holder_content, holder_name, lives_here
from bids_core.artifacts.small import read_small_bytes
from bids_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

FOLDER: Final = ".locks"
BEAT_SECONDS: Final = 5.0
EXPIRY_SECONDS: Final = 30.0  # six beats: a stalled disk or a long garbage collection is not death
_POLL_SECONDS: Final = 1.0
# file systems of fsspec whose `pipe_file(mode="create")` is one atomic request
_EXCLUSIVE_CREATE: Final = frozenset({"s3", "s3a", "gs", "gcs", "memory"})


class LockFiles(Protocol):
    """The few file operations that locks need."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; empty if it does not exist."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None if it does not exist."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists; return whether it was written."""

    def write(self, path: str, data: bytes) -> None:
        """Overwrite a file."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a file so that readers see the old bytes or the new ones, never a mixture."""

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""


class LocalFiles:
    """Locks in a local or shared folder."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes.

        Raises:
            ArtifactError: it is none of a store's small files.
        """
        try:
            return read_small_bytes(Path(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ArtifactError(f"{path}: {error}; remove it from the store") from error

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists."""
        while True:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue  # the last holder removed its empty folder meanwhile
            return True

    def write(self, path: str, data: bytes) -> None:
        """Overwrite a file."""
        Path(path).write_bytes(data)

    def replace(self, path: str, data: bytes) -> None:
        """Write a file atomically."""
        aside = Path(path).with_name(f".{uuid.uuid4().hex}")
        while True:
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                aside.write_bytes(data)
                aside.replace(path)
            except FileNotFoundError:
                continue  # another process removed the empty folder meanwhile
            return

    def remove(self, path: str) -> None:
        """Remove a file, and its folder if that is then empty."""
        Path(path).unlink(missing_ok=True)
        try:
            Path(path).parent.rmdir()
        except OSError:
            return  # others are waiting in it, or have removed it


class RemoteFiles:
    """Locks on an fsspec file system."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted."""
        try:
            found = self._fs.ls(folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes."""
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists."""
        try:
            self._fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except NotImplementedError:
            logger.info(
                "%s: the store does not support exclusive creation; continuing without a lock", path
            )
        return True

    def write(self, path: str, data: bytes) -> None:
        """Overwrite a file."""
        self._fs.pipe_file(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Write a file atomically, in one request."""
        self.write(path, data)

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return


def lock_files(fs: Any, *, local: bool) -> LockFiles | None:
    """Return the lock operations of a file system; None if it cannot create exclusively."""
    if local:
        return LocalFiles()
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return RemoteFiles(fs) if protocols & _EXCLUSIVE_CREATE else None


class ArtifactLock:
    """The lock of one artifact.

    Args:
        files: of the store.
        folder: of this artifact's lock.
        beat_seconds: time between two signs of life of the holder.
        expiry_seconds: time without a sign of life after which the holder counts as lost.
    """

    def __init__(
        self,
        files: LockFiles,
        folder: str,
        *,
        beat_seconds: float = BEAT_SECONDS,
        expiry_seconds: float = EXPIRY_SECONDS,
    ) -> None:
        self._files = files
        self._folder = folder
        self._beat_seconds = beat_seconds
        self._expiry_seconds = expiry_seconds

    def sign_of_life(self) -> bytes | None:
        """Return the newest generation's bytes (changing while its holder lives), None if free."""
        names = self._files.names(self._folder)
        content = self._files.read(f"{self._folder}/{names[-1]}") if names else None
        return None if content is None else names[-1].encode() + b" " + content

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock within the block, waiting for it first.

        Yields:
            Whether we had to wait for another process, which may have done our work.
        """
        name, waited = self._acquire()
        stop = threading.Event()
        beats = threading.Thread(target=self._beat, args=(name, stop), daemon=True)
        beats.start()
        try:
            yield waited
        finally:
            stop.set()
            beats.join()
            for older in self._files.names(self._folder):
                if older <= name:
                    self._files.remove(f"{self._folder}/{older}")

    def _acquire(self) -> tuple[str, bool]:
        """Create the next generation as soon as the newest is released or lost."""
        seen, since, told = b"", time.monotonic(), False
        while True:
            names = self._files.names(self._folder)
            content = self._files.read(f"{self._folder}/{names[-1]}") if names else None
            if names and content is not None:
                sign = names[-1].encode() + content
                if sign != seen:
                    seen, since = sign, time.monotonic()
                silent = time.monotonic() - since
                if lives_here(content) is not False and silent < self._expiry_seconds:
                    if not told:
                        logger.info("%s is being computed by %s; waiting", self._folder.rsplit(
                            "/", 1)[-1], holder_name(content))  # fmt: skip
                        told = True
                    time.sleep(min(_POLL_SECONDS, self._beat_seconds))
                    continue
                logger.warning("%s: its holder %s is lost; taking over", self._folder.rsplit(
                    "/", 1)[-1], holder_name(content))  # fmt: skip
            name = f"{int(names[-1]) + 1 if names else 0:08d}"
            if self._files.create(f"{self._folder}/{name}", holder_content(0)):
                return name, told or bool(names)

    def _beat(self, name: str, stop: threading.Event) -> None:
        count = 0
        while not stop.wait(self._beat_seconds):
            count += 1
            try:
                self._files.write(f"{self._folder}/{name}", holder_content(count))
            except OSError as error:
                logger.warning("sign of life for %s not written: %s", self._folder, error)
