"""Artifacts on an fsspec file system: the record is uploaded last, reads use a local copy."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from bids_core.artifacts.files import RECORD, files_in, move_whole
from bids_core.artifacts.small import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bids_core.artifacts.drafts import Drafts


def upload(fs: Any, folder: Path, target: str) -> None:
    """Upload a finished artifact, its record last: a record means that the artifact is whole."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if fs.exists(f"{target}/{RECORD}"):
        fs.rm_file(f"{target}/{RECORD}")
    for name in (*record["files"], RECORD):
        fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
        fs.put_file(str(folder / name), f"{target}/{name}")


def download(fs: Any, source: str, place: Path, drafts: Drafts) -> None:
    """Copy an artifact into a local folder; does nothing if it is missing or incomplete."""
    if not fs.exists(f"{source}/{RECORD}"):
        return
    with drafts.make(f"get-{uuid.uuid4().hex}") as aside:
        aside.mkdir()
        try:
            files = files_in(parse_json(fs.cat_file(f"{source}/{RECORD}")))
            for name in (*files, RECORD):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(f"{source}/{name}", str(aside / name))
            move_whole(aside, place)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return  # the caller sees no record


def remote_problems(fs: Any, target: str, files: Mapping[str, Any], *, url: str) -> list[str]:
    """Return what is wrong with an artifact, judged by the sizes of its files.

    Args:
        fs: the file system.
        target: path of the artifact.
        files: its record's entries for them.
        url: of the store, for messages.
    """
    try:
        found = fs.find(f"{target}/", detail=True)
    except FileNotFoundError:
        found = {}
    key = target.rsplit("/", 1)[-1]
    sizes = {path.partition(f"{key}/")[2]: info["size"] for path, info in found.items()}
    problems = [f"{RECORD} is not in {url}"] if RECORD not in sizes else []
    for name, expected in files.items():
        if sizes.get(name) != expected["bytes"]:
            what = f"has {sizes[name]} bytes" if name in sizes else "is missing"
            problems.append(f"{name} {what} in {url}")
    return problems
