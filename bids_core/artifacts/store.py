"""The artifact store: `<stage>/<fingerprint>/` with a `record.json` of how it was made.

An artifact is written elsewhere and then moved into place whole. Its fingerprint is a hash of the
stage, the stage's algorithm version, its slice of the configuration and the fingerprints of its
inputs, but of nothing that cannot change the result (device, shard size, paths, names). Checksums
are xxh3, which detects damage, not tampering; they are checked whenever an artifact is about to be
reused.

The store is a folder or any fsspec URL. Artifacts are always built in a local folder; for a remote
store the files are uploaded with `record.json` last, and read through a local cache. If several
processes need an artifact at the same time, one computes it (`exclusive`, see locks).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fsspec
from pydantic import BaseModel, ConfigDict, field_validator

from bids_core.artifacts.access import require_writable
from bids_core.artifacts.drafts import Draft, Drafts
from bids_core.artifacts.failures import Failures
from bids_core.artifacts.files import (
    RECORD,
    describe,
    file_problem,
    files_in,
    files_of,
    is_full,
    move_whole,
)
from bids_core.artifacts.holders import lives_here
from bids_core.artifacts.intent import wait_until_spared
from bids_core.artifacts.ledger import Ledger, Recorder, recording, refer
from bids_core.artifacts.locks import (
    EXPIRY_SECONDS,
    FOLDER,
    ArtifactLock,
    LocalFiles,
    RemoteFiles,
    lock_files,
)
from bids_core.artifacts.provenance import git_revision, machine, versions
from bids_core.artifacts.remote import download, remote_problems, upload
from bids_core.artifacts.small import parse_json, read_small_json
from bids_core.errors import ArtifactError, ConfigError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bids_core.artifacts.identity import Identity
    from bids_core.artifacts.locks import LockFiles

logger = logging.getLogger(__name__)
_FINGERPRINT: Final = re.compile("[0-9a-f]{32}")

__all__ = ["ArtifactStore", "Handle", "Obtained", "cache_root"]


class Handle(BaseModel):
    """A small reference to an artifact, which stages pass to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    """Folder or URL of the store."""
    stage: str
    """Stage that made it."""
    fingerprint: str
    """See `fingerprint`."""

    @field_validator("stage", "fingerprint")
    @classmethod
    def _names_lead_nowhere(cls, value: str) -> str:
        if value in ("", ".", "..") or any(letter in value for letter in "/\\\0"):
            msg = f"{value!r} is not the name of a folder"
            raise ValueError(msg)
        return value

    @property
    def key(self) -> str:
        """Path within the store."""
        return f"{self.stage}/{self.fingerprint}"

    def path(self) -> Path:
        """Return the local folder that holds the artifact's files.

        Raises:
            ArtifactError: it is missing, or its remote copy is incomplete.
        """
        return ArtifactStore(self.store).open(self)

    def record(self) -> dict[str, Any]:
        """Return its `record.json`."""
        return dict(read_small_json(self.path() / RECORD))

    def summary(self) -> dict[str, Any]:
        """Return the summary that the stage recorded for people (`summary` in `record.json`)."""
        return dict(self.record()["summary"])


@dataclass(frozen=True, slots=True)
class Obtained:
    """What `ArtifactStore.get_or_compute` found or made.

    Args:
        handle: the artifact.
        computed: whether it was computed, rather than found.
    """

    handle: Handle
    computed: bool


class ArtifactStore:
    """A folder or fsspec URL that holds artifacts."""

    def __init__(self, url: str) -> None:
        self._fs, root = _open(url)
        self._local = "file" in _protocols(self._fs)
        self.url = str(Path(root).resolve()) if self._local else url
        self.root = self.url if self._local else root.rstrip("/")

    def get_or_compute(self, identity: Identity, compute: Callable[[Draft], None]) -> Obtained:
        """Return an artifact, computing it only if the store does not hold it whole.

        If several processes need it at the same time, on whatever machines, one computes it.

        Args:
            identity: what it is made from.
            compute: fills the draft it is given.
        """
        found = self.get(identity)
        if found is not None:
            return Obtained(found, computed=False)
        handle = self.handle(identity.stage, identity.fingerprint)
        with self.exclusive(handle) as waited:
            if waited and self.find(identity.stage, identity.fingerprint) is not None:
                return Obtained(handle, computed=False)
            with self.create(
                identity.stage,
                identity.fingerprint,
                version=identity.version,
                config=identity.config,
                inputs=identity.inputs,
                seed=identity.seed,
                uses=identity.uses,
            ) as draft:
                compute(draft)
        return Obtained(handle, computed=True)

    def get(self, identity: Identity) -> Handle | None:
        """Return an artifact if it is present and intact; None if it must be computed.

        Either way the run being recorded (`recording`) refers to it from now on.
        """
        return self.claim(self.handle(identity.stage, identity.fingerprint), identity.uses)

    def claim(self, handle: Handle, uses: Sequence[str] = ()) -> Handle | None:
        """Return an artifact by its handle, as `get` does.

        Args:
            handle: the artifact.
            uses: keys of what it was made from.
        """
        keys = (handle.key, *uses)
        refer(self.url, keys)
        wait_until_spared(self.files(), self.root, keys)
        return self.find(handle.stage, handle.fingerprint)

    def handle(self, stage: str, fingerprint: str) -> Handle:
        """Return a handle, whether or not the artifact exists."""
        return Handle(store=self.url, stage=stage, fingerprint=fingerprint)

    def find(self, stage: str, fingerprint: str) -> Handle | None:
        """Return a handle if the artifact is present and intact; None if it must be computed."""
        handle = self.handle(stage, fingerprint)
        problems = self.verify(handle)
        if not problems:
            return handle
        if self._fs.exists(f"{self.root}/{handle.key}"):
            logger.warning("%s is damaged and will be computed again: %s", handle.key, problems[0])
        return None

    def holds(self, handle: Handle) -> bool:
        """Return whether an artifact has been published, without checking its bytes."""
        return bool(self._fs.exists(f"{self.root}/{handle.key}/{RECORD}"))

    def open(self, handle: Handle) -> Path:
        """Return the local folder of an artifact (downloaded if the store is remote).

        Raises:
            ArtifactError: it is missing, or its remote copy is incomplete (`verify` checks its
                bytes).
        """
        place = self._local_place(handle)
        if not self._local and not (place / RECORD).exists():
            download(self._fs, f"{self.root}/{handle.key}", place, self.drafts())
        if not (place / RECORD).exists():
            msg = f"artifact {handle.key} is not in {self.url}; run again to compute it"
            raise ArtifactError(msg)
        return place

    def verify(self, handle: Handle) -> list[str]:
        """Return what is wrong with an artifact, file by file; an empty list if it is intact."""
        try:
            place = self.open(handle)
            files = files_in(read_small_json(place / RECORD))
        except (ArtifactError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
            return [f"{RECORD}: {brief(error)}"]
        found = [file_problem(place, name, expected) for name, expected in files.items()]
        problems = [problem for problem in found if problem]
        if self._local:
            return problems
        if problems:  # a damaged copy: the next read downloads it again
            shutil.rmtree(place, ignore_errors=True)
        return problems + remote_problems(
            self._fs, f"{self.root}/{handle.key}", files, url=self.url
        )

    @contextmanager
    def exclusive(self, handle: Handle) -> Iterator[bool]:
        """Be the only process computing an artifact within the block; waits for others first.

        Yields:
            Whether another process held the lock: look again before computing.
        """
        lock = self._lock(handle)
        if lock is None:
            logger.info("%s cannot lock: %s may be computed twice at once", self.url, handle.key)
            yield False
            return
        with self._saying_full(handle), lock.held() as waited:
            yield waited

    def sign_of_life(self, handle: Handle) -> bytes | None:
        """Return bytes that change while a process computes the artifact, None if none does."""
        lock = self._lock(handle)
        return None if lock is None else lock.sign_of_life()

    def exists(self) -> bool:
        """Return whether anything was ever stored there."""
        return bool(self._fs.exists(self.root))

    def is_store(self) -> bool:
        """Return whether a run was ever recorded or an artifact published there."""
        if not self.exists():
            return False
        if self._fs.exists(self.ledger().folder):
            return True
        return any(self.holds(handle) for handle in self.ls())

    def failures(self) -> Failures:
        """Return the failures that workers recorded."""
        return Failures(self._fs, self.root)

    def require_access(self) -> None:
        """Write and remove a small file.

        Raises:
            ConfigError: the store cannot be written to.
        """
        if self._local:
            require_writable(Path(self.root), key="store")
            return
        path = f"{self.root}/.probe-{uuid.uuid4().hex}"
        try:
            self._fs.pipe_file(path, b"probe")
            self._fs.rm_file(path)
        except Exception as error:  # every file system has its own error classes
            reason = (str(error) or type(error).__name__).splitlines()[0]
            msg = f"store: {self.url} is not writable ({reason}); check its address and your access"
            raise ConfigError(msg) from error

    @contextmanager
    def create(
        self,
        stage: str,
        fingerprint: str,
        *,
        version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        seed: int | None = None,
        uses: tuple[str, ...] = (),
    ) -> Iterator[Draft]:
        """Make an artifact: yields a draft to fill, and publishes it when the block ends.

        Nothing appears in the store if the block raises. If another process published the same
        artifact meanwhile, that one is kept.
        """
        handle = self.handle(stage, fingerprint)
        started = time.monotonic()  # wall clocks can jump
        with self.drafts().artifact(stage, fingerprint) as draft:
            with self._saying_full(handle):
                draft.path.mkdir(parents=True)
                yield draft
            record = {
                "stage": stage,
                "fingerprint": fingerprint,
                "algorithm_version": version,
                "config": dict(config),
                "inputs": dict(inputs),
                "seed": seed,
                "uses": sorted(uses),
                "summary": draft.summary,
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                "seconds": round(time.monotonic() - started, 3),
                "versions": versions(),
                "git_revision": git_revision(),
                "host": machine(),
                "files": {name: describe(draft.path / name) for name in files_of(draft.path)},
            }
            with self._saying_full(handle):
                text = json.dumps(record, indent=1, allow_nan=False)
                (draft.path / RECORD).write_text(text, encoding="utf-8")
                self._publish(draft.path, handle)
            self.drafts().forget(stage, fingerprint)

    def ls(self, stage: str | None = None) -> list[Handle]:
        """Return a handle for every artifact in the store or one stage, damaged ones included."""
        if stage is not None:
            folder = f"{self.root}/{stage}"
            places = self._fs.ls(folder, detail=False) if self._fs.isdir(folder) else []
            names = (place.rstrip("/").rsplit("/", 1)[-1] for place in places)
            return sorted((self.handle(stage, n) for n in names), key=lambda handle: handle.key)
        if not self._fs.exists(self.root):
            return []
        found = []
        for stage in self._fs.ls(self.root, detail=False):
            name = stage.rstrip("/").rsplit("/", 1)[-1]
            if not name.startswith(".") and self._fs.isdir(stage):
                for folder in self._fs.ls(stage, detail=False):
                    found.append(self.handle(name, folder.rstrip("/").rsplit("/", 1)[-1]))
        return sorted(found, key=lambda handle: handle.key)

    def is_ours(self, handle: Handle) -> bool:
        """Return whether a handle is an artifact by its record, and not reached through a link."""
        if not _FINGERPRINT.fullmatch(handle.fingerprint):
            return False
        place = Path(self.root, handle.stage, handle.fingerprint)
        if self._local and (place.is_symlink() or place.parent.is_symlink()):
            return False
        record = self.read_record(handle)
        return (record.get("stage"), record.get("fingerprint")) == (
            handle.stage, handle.fingerprint,
        )  # fmt: skip

    def size(self, handle: Handle) -> int:
        """Return an artifact's size in the store, in bytes."""
        return int(self._fs.du(f"{self.root}/{handle.key}"))

    def remove(self, handle: Handle) -> None:
        """Delete an artifact (and its local copy, if the store is remote)."""
        if self._fs.exists(f"{self.root}/{handle.key}"):
            self._fs.rm(f"{self.root}/{handle.key}", recursive=True)
        shutil.rmtree(self._local_place(handle), ignore_errors=True)

    def ledger(self) -> Ledger:
        """Return the store's ledger: which runs refer to its artifacts."""
        return Ledger(self.files(), self.root)

    @contextmanager
    def recording(self, name: str, *, kind: str, folder: Path) -> Iterator[Recorder]:
        """Record which artifacts a run refers to within the block (see `ledger`).

        Args:
            name: of the run.
            kind: run, comparison, validation or plan.
            folder: of the run, created if needed; the run's artifacts are kept as long as it
                exists.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with recording(
            self.ledger(), url=self.url, name=name, kind=kind, folder=folder
        ) as recorder:
            yield recorder

    def files(self) -> LockFiles:
        """Return access to the store's small files: locks and ledger."""
        return LocalFiles() if self._local else RemoteFiles(self._fs)

    def drafts(self) -> Drafts:
        """Return the local folder in which artifacts are built."""
        return Drafts((Path(self.root) if self._local else _cache_folder()) / ".tmp")

    def uses(self, handle: Handle) -> list[str]:
        """Return the keys of the artifacts that one was made from; none if its record is gone."""
        return list(self.read_record(handle).get("uses", []))

    def read_record(self, handle: Handle) -> dict[str, Any]:
        """Return an artifact's `record.json` without fetching its files; empty if it is gone.

        A damaged record is empty too: the artifact is recomputed when it is needed.
        """
        content = self.files().read(f"{self.root}/{handle.key}/{RECORD}")
        try:
            return dict(parse_json(content or b"{}"))
        except (ValueError, TypeError):
            return {}

    def in_the_making(self) -> set[str]:
        """Return the keys of the artifacts that a process is computing now.

        A holder on another machine shows that it is alive by changing its lock; if there are such
        locks, this can take as long as a lock takes to expire.
        """
        locks = {
            name: ArtifactLock(self.files(), f"{self.root}/{FOLDER}/{name}")
            for name in self.files().names(f"{self.root}/{FOLDER}")
        }
        signs = {name: lock.sign_of_life() for name, lock in locks.items()}
        held = {name: sign for name, sign in signs.items() if sign is not None}
        lives = {name: lives_here(sign.partition(b" ")[2]) for name, sign in held.items()}
        alive = {name for name, here in lives.items() if here}
        unsure = {name for name, here in lives.items() if here is None}
        until = time.monotonic() + EXPIRY_SECONDS
        while unsure and time.monotonic() < until:
            time.sleep(1.0)
            beating = {name for name in unsure if locks[name].sign_of_life() != held[name]}
            alive |= beating
            unsure -= beating
        return {"/".join(name.rsplit("-", 1)) for name in alive}

    @contextmanager
    def _saying_full(self, handle: Handle) -> Iterator[None]:
        """Turn every kind of error for a full disk into one message."""
        try:
            yield
        except Exception as error:
            if isinstance(error, ArtifactError) or not is_full(error):
                raise
            msg = (
                f"the disk is full: {handle.key} could not be written to "
                f"{self.drafts().folder.parent}; free some space and run again"
            )
            raise ArtifactError(msg) from error

    def _lock(self, handle: Handle) -> ArtifactLock | None:
        files = lock_files(self._fs, local=self._local)
        if files is None:
            return None
        return ArtifactLock(files, f"{self.root}/{FOLDER}/{handle.stage}-{handle.fingerprint}")

    def _local_place(self, handle: Handle) -> Path:
        if self._local:
            return Path(self.root) / handle.key
        return _cache_folder() / hashlib.sha256(self.url.encode()).hexdigest()[:16] / handle.key

    def _publish(self, folder: Path, handle: Handle) -> None:
        place = self._local_place(handle)
        if not self._local:
            target = f"{self.root}/{handle.key}"
            if self._fs.exists(f"{target}/{RECORD}") and not self.verify(handle):
                return  # another process was first
            upload(self._fs, folder, target)
            shutil.rmtree(place, ignore_errors=True)
        move_whole(folder, place)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it, without cached listings."""
    options = {"use_listings_cache": False} if "://" in url else {}
    try:
        fs, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        msg = f"store: {url} cannot be opened: {error}"
        raise ConfigError(msg) from error
    return fs, str(root)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _cache_folder() -> Path:
    return cache_root() / "artifacts"


def cache_root() -> Path:
    """Return the folder for downloads and local copies (`BIDS_CACHE`, or `~/.cache/bids`)."""
    return Path(os.environ.get("BIDS_CACHE") or Path.home() / ".cache" / "bids")
