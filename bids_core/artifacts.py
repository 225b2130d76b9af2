"""The artifact store: `<stage>/<fingerprint>/` with a `record.json` that says how it came to be.

An artifact is written aside and appears whole. Its fingerprint is a hash of the stage, the stage's
algorithm version, its slice of the configuration and the fingerprints of its inputs; nothing that
can not change the result (device, shard size, paths, names) enters. Checksums are xxh3 (damage,
not tampering, is what they detect), and are checked whenever an artifact is about to be reused.

The store is a folder or any fsspec URL. Artifacts are always built in a local folder; on a remote
store the files are uploaded with `record.json` last, and are read through a local cache.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import time
import uuid
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fsspec
import xxhash
from pydantic import BaseModel, ConfigDict

from bids_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

RECORD: Final = "record.json"
_READ_BYTES: Final = 1 << 22
_RECORDED_PACKAGES: Final = (
    "torch", "transformers", "peft", "tokenizers", "numpy", "zarr", "lm_eval", "prefect",
)  # fmt: skip


def fingerprint(
    stage: str, *, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]
) -> str:
    """Return the name under which a stage's result is stored.

    Args:
        stage: name of the stage.
        version: algorithm version of the stage; raise it when its results change.
        config: the values that can change the result, JSON-serialisable.
        inputs: fingerprints or content digests of what the stage reads.

    Returns:
        32 hexadecimal digits of a SHA-256.
    """
    spec = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = json.dumps(spec, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """Return the xxh3-128 digest of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


class Handle(BaseModel):
    """A small reference to an artifact; what stages pass to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    """Folder or URL of the store."""
    stage: str
    """Stage that made it."""
    fingerprint: str
    """See `fingerprint`."""

    @property
    def key(self) -> str:
        """Place within the store."""
        return f"{self.stage}/{self.fingerprint}"

    def path(self) -> Path:
        """Return the local folder that holds the artifact's files.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        return ArtifactStore(self.store).open(self)

    def record(self) -> dict[str, Any]:
        """Return its `record.json`."""
        return dict(json.loads((self.path() / RECORD).read_text(encoding="utf-8")))

    def summary(self) -> dict[str, Any]:
        """Return the small facts that the stage left for people (`record.json`'s `summary`)."""
        return dict(self.record()["summary"])


class Draft:
    """An artifact in the making: a local folder to fill, and a summary to leave."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Folder to write into."""
        self.summary: dict[str, Any] = {}
        """Small facts for people; may be set until the artifact is published."""


class ArtifactStore:
    """A folder or fsspec URL that holds artifacts."""

    def __init__(self, url: str) -> None:
        self._fs, root = fsspec.core.url_to_fs(url)
        self._local = "file" in _protocols(self._fs)
        self.url = str(Path(root).resolve()) if self._local else url
        self.root = self.url if self._local else root.rstrip("/")

    def handle(self, stage: str, fingerprint: str) -> Handle:
        """Return a handle, whether the artifact exists or not."""
        return Handle(store=self.url, stage=stage, fingerprint=fingerprint)

    def find(self, stage: str, fingerprint: str) -> Handle | None:
        """Return a handle if the artifact is there and whole; None if it must be computed."""
        handle = self.handle(stage, fingerprint)
        problems = self.verify(handle)
        if not problems:
            return handle
        if self._fs.exists(f"{self.root}/{handle.key}"):
            logger.warning("%s is damaged and will be computed again: %s", handle.key, problems[0])
        return None

    def open(self, handle: Handle) -> Path:
        """Return the local folder of an artifact (downloaded if the store is remote).

        Raises:
            ArtifactError: it is missing or damaged.
        """
        place = self._local_place(handle)
        if not self._local and not (place / RECORD).exists():
            self._download(handle, place)
        if not (place / RECORD).exists():
            msg = f"artifact {handle.key} is not in {self.url}; run again to compute it"
            raise ArtifactError(msg)
        return place

    def verify(self, handle: Handle) -> list[str]:
        """Return what is wrong with an artifact, by file; an empty list if it is whole."""
        try:
            place = self.open(handle)
            record = json.loads((place / RECORD).read_text(encoding="utf-8"))
            files = dict(record["files"])
        except (ArtifactError, OSError, ValueError, KeyError) as error:
            return [f"{RECORD}: {error}"]
        return [
            problem
            for name, expected in files.items()
            if (problem := _file_problem(place, name, expected))
        ]

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
    ) -> Iterator[Draft]:
        """Make an artifact: yields a draft to fill, publishes it whole when the block ends.

        Nothing appears in the store if the block raises. If another process published the same
        artifact meanwhile, that one is kept.
        """
        handle = self.handle(stage, fingerprint)
        base = Path(self.root) if self._local else _cache_folder()
        draft = Draft(base / ".tmp" / f"{stage}-{fingerprint}-{uuid.uuid4().hex}")
        draft.path.mkdir(parents=True)
        started = time.time()
        try:
            yield draft
            record = {
                "stage": stage,
                "fingerprint": fingerprint,
                "algorithm_version": version,
                "config": dict(config),
                "inputs": dict(inputs),
                "seed": seed,
                "summary": draft.summary,
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(time.time() - started, 3),
                "versions": _versions(),
                "git_revision": _git_revision(),
                "host": {"processor": platform.processor() or platform.machine(),
                         "cpus": os.cpu_count()},
                "files": {name: _describe(draft.path / name) for name in _files(draft.path)},
            }  # fmt: skip
            text = json.dumps(record, indent=1, allow_nan=False)
            (draft.path / RECORD).write_text(text, encoding="utf-8")
            self._publish(draft.path, handle)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)

    def ls(self) -> list[Handle]:
        """Return a handle of every artifact in the store, damaged ones included."""
        if not self._fs.exists(self.root):
            return []
        found = []
        for stage in self._fs.ls(self.root, detail=False):
            name = stage.rstrip("/").rsplit("/", 1)[-1]
            if not name.startswith(".") and self._fs.isdir(stage):
                for folder in self._fs.ls(stage, detail=False):
                    found.append(self.handle(name, folder.rstrip("/").rsplit("/", 1)[-1]))
        return sorted(found, key=lambda handle: handle.key)

    def size(self, handle: Handle) -> int:
        """Return the bytes that an artifact takes in the store."""
        return int(self._fs.du(f"{self.root}/{handle.key}"))

    def remove(self, handle: Handle) -> None:
        """Delete an artifact (and its local copy, if the store is remote)."""
        if self._fs.exists(f"{self.root}/{handle.key}"):
            self._fs.rm(f"{self.root}/{handle.key}", recursive=True)
        shutil.rmtree(self._local_place(handle), ignore_errors=True)

    def remove_leftovers(self) -> int:
        """Delete what killed runs left half-written; returns how many."""
        base = (Path(self.root) if self._local else _cache_folder()) / ".tmp"
        left = list(base.iterdir()) if base.exists() else []
        for folder in left:
            shutil.rmtree(folder)
        return len(left)

    def _local_place(self, handle: Handle) -> Path:
        if self._local:
            return Path(self.root) / handle.key
        return _cache_folder() / hashlib.sha256(self.url.encode()).hexdigest()[:16] / handle.key

    def _publish(self, folder: Path, handle: Handle) -> None:
        if self._local:
            _move_whole(folder, Path(self.root) / handle.key)
            return
        target = f"{self.root}/{handle.key}"
        for name in (*_files(folder), RECORD):  # the record last: its presence means whole
            self._fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(folder / name), f"{target}/{name}")
        _move_whole(folder, self._local_place(handle))

    def _download(self, handle: Handle, place: Path) -> None:
        source = f"{self.root}/{handle.key}"
        if not self._fs.exists(f"{source}/{RECORD}"):
            return
        aside = _cache_folder() / ".tmp" / f"get-{uuid.uuid4().hex}"
        aside.mkdir(parents=True)
        try:
            record = json.loads(self._fs.cat_file(f"{source}/{RECORD}"))
            for name in (*record["files"], RECORD):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(f"{source}/{name}", str(aside / name))
            _move_whole(aside, place)
        except FileNotFoundError:
            return  # a damaged remote artifact: the caller sees no record
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _move_whole(folder: Path, target: Path) -> None:
    """Rename a finished folder into place; an artifact that is already there and whole stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        if _is_whole(target):
            return
        old = target.parent / f".{target.name}-{uuid.uuid4().hex}"
        target.rename(old)
        folder.rename(target)
        shutil.rmtree(old)


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return not any(_file_problem(folder, name, expected) for name, expected in files.items())


def _file_problem(folder: Path, name: str, expected: Mapping[str, Any]) -> str | None:
    path = folder / name
    if not path.is_file():
        return f"{name} is missing"
    stat = path.stat()
    if stat.st_size != expected["bytes"]:
        return f"{name} has {stat.st_size} bytes instead of {expected['bytes']}"
    if _cached_digest(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) != expected["xxh3"]:
        return f"{name} does not match its checksum"
    return None


@lru_cache(maxsize=65536)
def _cached_digest(path: str, size: int, mtime_ns: int, inode: int) -> str:  # noqa: ARG001 - key
    return file_digest(Path(path))


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "xxh3": file_digest(path)}


def _files(folder: Path) -> list[str]:
    names = (str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in names if name != RECORD)


def _sync(folder: Path) -> None:
    """Flush a folder's files to the disk, so that a rename never outlives its bytes."""
    for name in (*_files(folder), RECORD):
        descriptor = os.open(folder / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _cache_folder() -> Path:
    return cache_root() / "artifacts"


def cache_root() -> Path:
    """Return the folder for downloads and local copies (`BIDS_CACHE`, or `~/.cache/bids`)."""
    return Path(os.environ.get("BIDS_CACHE") or Path.home() / ".cache" / "bids")


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in ("bids-select", *_RECORDED_PACKAGES):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional package that is not there has no version to record
    return installed


@lru_cache(maxsize=1)
def _git_revision() -> str | None:
    """Return the revision of the source tree, with `-dirty`; None for an installed package."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
