"""Cleaning a store: deletes what no run refers to and no process is making.

An artifact is kept if a run in the ledger refers to it, a manifest in the given folders names it,
one of these was made from it (`uses` in their records, recursively), or a process is computing it.
A run may start meanwhile. So the collector first announces what it is about to delete and then
reads the ledger again, while a run first writes to the ledger and then reads the announcement: at
least one of the two sees the other.

Only artifacts are deleted. Anything else in the store's folder (no artifact record, or behind a
link) stays and is listed (`foreign`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts.intent import announced
from bids_core.artifacts.small import read_small_json
from bids_core.errors import ArtifactError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from bids_core.artifacts.ledger import RunEntry
    from bids_core.artifacts.store import ArtifactStore, Handle

MANIFESTS: Final = ("manifest.json", "comparison.json")
"""Files in a run folder that name artifacts."""


@dataclass(frozen=True)
class Survey:
    """What a store holds, and which part of it is needed.

    Args:
        kept: the reason why each kept artifact stays, by key.
        unused: the artifacts that nothing needs.
        sizes: their sizes in bytes, by key.
        foreign: keys of folders that are not artifacts of ours; they stay.
        drafts: folders that killed processes left half-written.
        gone: runs whose folder was deleted on this machine, or that are to be forgotten; they no
            longer keep anything.
        runs: the other runs that the store knows.
    """

    kept: dict[str, str]
    unused: tuple[Handle, ...]
    sizes: dict[str, int]
    foreign: tuple[str, ...]
    drafts: tuple[Path, ...]
    gone: tuple[RunEntry, ...]
    runs: tuple[RunEntry, ...]


def survey(
    store: ArtifactStore, *, folders: Sequence[Path] = (), forget: Collection[str] = ()
) -> Survey:
    """Find what in a store nothing needs. Deletes nothing.

    Args:
        store: the store.
        folders: run folders whose manifests are read as well: of runs from before stores kept a
            ledger, or moved here from elsewhere.
        forget: names of runs that no longer keep anything; a run in progress is not forgotten.

    Raises:
        ArtifactError: an entry of the ledger or a manifest cannot be read.
    """
    handles = store.ls()
    entries = store.ledger().entries()
    gone = tuple(
        entry
        for entry in entries
        if entry.is_gone() or (entry.name in forget and entry.state != "running")
    )
    runs = tuple(entry for entry in entries if entry not in gone)
    kept: dict[str, str] = {}
    for entry in runs:
        for key in entry.artifacts:
            kept.setdefault(key, f"{entry.label} ({entry.state})")
    for path in _manifests(folders):
        if path.parent.name in forget:
            continue
        for key in _named_in(path):
            kept.setdefault(key, str(path))
    _add_used(store, {handle.key: handle for handle in handles}, kept)
    making = store.in_the_making()
    for key in making:
        kept.setdefault(key, "is being computed")
    free = [handle for handle in handles if handle.key not in kept]
    unused = tuple(handle for handle in free if store.is_ours(handle))
    return Survey(
        kept=kept,
        unused=unused,
        sizes={handle.key: store.size(handle) for handle in unused},
        foreign=tuple(handle.key for handle in free if handle not in unused),
        drafts=tuple(
            store.drafts().left(in_the_making=making.__contains__, wanted=kept.__contains__)
        ),
        gone=gone,
        runs=runs,
    )


def collect(
    store: ArtifactStore, *, folders: Sequence[Path] = (), forget: Collection[str] = ()
) -> Survey:
    """Delete what nothing needs; returns the survey, with what was deleted as `unused`.

    Raises:
        ArtifactError: as `survey`; or another process is cleaning the store.
    """
    first = survey(store, folders=folders, forget=forget)
    with announced(store.files(), store.ledger().folder, [handle.key for handle in first.unused]):
        found = survey(
            store, folders=folders, forget=forget
        )  # runs that started meanwhile are in the ledger by now
        named = {handle.key for handle in first.unused}
        doomed = tuple(handle for handle in found.unused if handle.key in named)
        for handle in doomed:
            _delete(handle.key, store.remove, handle)
        for path in found.drafts:
            _delete(path.name, store.drafts().remove, path)
        for entry in found.gone:
            store.ledger().remove(entry)
    return replace(found, unused=doomed, sizes={one.key: found.sizes[one.key] for one in doomed})


def _delete(name: str, remove: Callable[[Any], None], what: object) -> None:
    try:
        remove(what)
    except PermissionError as error:
        msg = (
            f"{name} cannot be deleted ({brief(error)}); it is another user's: have them clean the"
            " store"
        )
        raise ArtifactError(msg) from error


def _manifests(folders: Iterable[Path]) -> list[Path]:
    found = []
    for folder in folders:
        if not folder.is_dir():
            msg = f"{folder}: no such folder; give the folder that holds your runs"
            raise ArtifactError(msg)
        found += [path for name in MANIFESTS for path in sorted(folder.glob(f"*/{name}"))]
    return found


def _named_in(path: Path) -> list[str]:
    """Return the artifacts that a manifest names, in the current format or an earlier one."""
    try:
        content: dict[str, Any] = read_small_json(path)
        if "artifacts" in content:
            return [str(key) for key in content["artifacts"]]
        if "stages" in content:
            return [f"{one['stage']}/{one['fingerprint']}" for one in content["stages"].values()]
        return [
            f"{cell[part]['stage']}/{cell[part]['fingerprint']}"
            for cell in content["cells"]
            for part in ("selection", "tuned", "scores")
            if cell.get(part)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: cannot be read as a manifest ({brief(error)}); repair it, or move it away"
        raise ArtifactError(msg) from error


def _add_used(store: ArtifactStore, handles: dict[str, Handle], kept: dict[str, str]) -> None:
    """Add what the kept artifacts were made from."""
    open_keys = [key for key in kept if key in handles]
    while open_keys:
        key = open_keys.pop()
        for used in store.uses(handles[key]):
            if used not in kept:
                kept[used] = f"{key} was made from it"
                if used in handles:
                    open_keys.append(used)
