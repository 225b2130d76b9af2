"""Which runs refer to which artifacts: one small file per run, in the store's `.runs`.

A run records every artifact it needs before it looks for it or has it computed, here or on a
worker. So cleaning the store meanwhile, or after the run was killed, removes nothing it needs. A
successful run keeps what it used until its folder is deleted or it is run again; a failed one also
keeps what its predecessor used, whose report is still in the folder.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from bids_core.artifacts.holders import holder_content, lives_here, node
from bids_core.artifacts.small import parse_json
from bids_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bids_core.artifacts.locks import LockFiles

FOLDER: Final = ".runs"
_SUFFIX: Final = ".json"

State = Literal["running", "done", "failed", "interrupted"]


class RunEntry(BaseModel):
    """What a store knows about one run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Name of the run."""
    kind: str
    """run, comparison, validation or plan."""
    folder: str
    """Its folder, on the machine that ran it."""
    holder: str
    """The process that ran it."""
    state: State
    """Whether it has ended, and how."""
    started: AwareDatetime
    """When it started (UTC)."""
    artifacts: tuple[str, ...]
    """Keys of the artifacts that it refers to, sorted."""
    serial: str = Field(default="", pattern="^[0-9a-f]*$")
    """Unique to one start of the run, so that two starts never write the same file."""

    @field_validator("holder")
    @classmethod
    def _holder_names_a_machine(cls, value: str) -> str:
        try:
            named = isinstance(parse_json(value)["node"], str)
        except (ValueError, KeyError, TypeError):
            named = False
        if not named:
            msg = "it names no machine"
            raise ValueError(msg)
        return value

    @property
    def label(self) -> str:
        """Readable name of the run."""
        return f"{self.kind} {self.name}"

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.run}-{self.serial}{_SUFFIX}"

    @property
    def run(self) -> str:
        """Hash of what all starts of one run share: kind, name, folder, machine."""
        host = json.loads(self.holder)["node"].split("/")[0]
        text = "\n".join((self.kind, self.name, self.folder, host))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def seen_from_here(self) -> RunEntry:
        """Return the entry with its true state: a running one whose process died is interrupted."""
        if self.state == "running" and lives_here(self.holder.encode()) is False:
            return self.model_copy(update={"state": "interrupted"})
        return self

    def is_gone(self) -> bool:
        """Return whether it ran on this machine and its folder has since been deleted."""
        here = str(json.loads(self.holder)["node"]).split("/")[0] == node().split("/")[0]
        return here and self.state != "running" and _is_absent(Path(self.folder))


def _is_absent(folder: Path) -> bool:
    """Return whether a folder certainly does not exist; one that cannot be read might."""
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


class Ledger:
    """The runs of a store.

    Args:
        files: of the store.
        root: of the store.
    """

    def __init__(self, files: LockFiles, root: str) -> None:
        self._files = files
        self.folder = f"{root}/{FOLDER}"

    def entries(self) -> list[RunEntry]:
        """Return every run, as seen from here, in order of starting.

        Raises:
            ArtifactError: an entry cannot be read.
        """
        found = []
        for name in self._files.names(self.folder):
            if name.endswith(_SUFFIX):
                content = self._files.read(f"{self.folder}/{name}")
                if content is not None:  # removed meanwhile
                    found.append(self._parsed(name, content))
        return sorted(found, key=lambda entry: entry.started)

    def write(self, entry: RunEntry) -> None:
        """Write an entry, or overwrite it."""
        self._files.replace(f"{self.folder}/{entry.file}", entry.model_dump_json(indent=1).encode())

    def earlier(self, entry: RunEntry) -> list[RunEntry]:
        """Return the earlier starts of a run that have ended."""
        same = [one for one in self.entries() if one.run == entry.run]
        return [one for one in same if one.serial != entry.serial and one.state != "running"]

    def remove(self, entry: RunEntry) -> None:
        """Remove an entry."""
        self._files.remove(f"{self.folder}/{entry.file}")

    def _parsed(self, name: str, content: bytes) -> RunEntry:
        try:
            return RunEntry.model_validate_json(content).seen_from_here()
        except ValidationError as error:
            msg = (
                f"{self.folder}/{name} cannot be read, so it is unknown which artifacts its "
                "run needs; restore it, or delete it and run again"
            )
            raise ArtifactError(msg) from error


class Recorder:
    """Records which artifacts a run refers to.

    Args:
        ledger: of the store.
        url: of the store; artifacts of other stores are not recorded.
        entry: the run, as it begins.
    """

    def __init__(self, ledger: Ledger, url: str, entry: RunEntry) -> None:
        self._ledger, self._url = ledger, url
        earlier = ledger.earlier(entry)
        self._before = frozenset(key for one in earlier for key in one.artifacts)
        self._mine: set[str] = set()
        self._entry = entry
        self._write("running")
        for one in earlier:
            ledger.remove(one)

    @property
    def artifacts(self) -> list[str]:
        """Keys of the artifacts that the run refers to so far, sorted."""
        return sorted(self._mine)

    def refer(self, url: str, keys: Iterable[str]) -> None:
        """Record artifacts, before they are looked for."""
        new = set(keys) - self._mine if url == self._url else set()
        if new:
            self._mine |= new
            self._write("running")

    def end(self, state: State) -> None:
        """Record how the run ended."""
        self._write(state)

    def _write(self, state: State) -> None:
        keys = self._mine if state == "done" else self._mine | self._before
        changes = {"state": state, "artifacts": tuple(sorted(keys))}
        self._ledger.write(self._entry.model_copy(update=changes))


_current: Recorder | None = None


@contextmanager
def recording(
    ledger: Ledger, *, url: str, name: str, kind: str, folder: Path
) -> Iterator[Recorder]:
    """Record what the process refers to within the block, as one run.

    Args:
        ledger: of the store.
        url: of the store.
        name: of the run.
        kind: run, comparison, validation or plan.
        folder: of the run.
    """
    global _current
    entry = RunEntry(
        name=name,
        kind=kind,
        folder=str(folder.resolve()),
        holder=holder_content().decode(),
        state="running",
        started=datetime.datetime.now(datetime.UTC),
        artifacts=(),
        serial=uuid.uuid4().hex,
    )
    recorder = Recorder(ledger, url, entry)
    previous, _current = _current, recorder
    try:
        yield recorder
    except BaseException:
        recorder.end("failed")
        raise
    else:
        recorder.end("done")
    finally:
        _current = previous


def refer(url: str, keys: Iterable[str]) -> None:
    """Record artifacts for the run that is being recorded, if there is one."""
    if _current is not None:
        _current.refer(url, keys)


def referred() -> list[str]:
    """Return the artifacts of the run that is being recorded; none if there is no such run."""
    return [] if _current is None else _current.artifacts
