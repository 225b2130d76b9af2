"""What a collector is about to delete, recorded first so that a starting run can wait."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bids_core.artifacts.holders import holder_content, lives_here
from bids_core.artifacts.ledger import FOLDER
from bids_core.artifacts.small import parse_json
from bids_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bids_core.artifacts.locks import LockFiles

logger = logging.getLogger(__name__)

_INTENT: Final = "deleting"
_POLL_SECONDS: Final = 1.0


def wait_until_spared(files: LockFiles, root: str, keys: Iterable[str]) -> None:
    """Wait as long as a collector is about to delete any of these artifacts."""
    path, told, wanted = f"{root}/{FOLDER}/{_INTENT}", False, set(keys)
    while True:
        content = files.read(path)
        if content is None or not wanted & set(_keys_of(content)):
            return
        if lives_here(content) is False:
            return  # it was killed and will delete nothing more
        if not told:
            logger.info("the store is being cleaned; waiting")
            told = True
        time.sleep(_POLL_SECONDS)


@contextmanager
def announced(files: LockFiles, folder: str, keys: list[str]) -> Iterator[None]:
    """Announce the artifacts that the block is going to delete.

    Raises:
        ArtifactError: another process is cleaning the store.
    """
    path = f"{folder}/{_INTENT}"
    content = json.dumps(json.loads(holder_content()) | {"keys": keys}).encode()
    if not files.create(path, content):
        other = files.read(path)
        if other is not None and lives_here(other) is not False:
            msg = (
                f"another process is cleaning the store; wait for it, or delete {path} if it was "
                "killed on another machine"
            )
            raise ArtifactError(msg)
        files.write(path, content)
    try:
        yield
    finally:
        files.remove(path)


def _keys_of(content: bytes) -> list[str]:
    try:
        return list(parse_json(content)["keys"])
    except (ValueError, KeyError, TypeError):
        return []  # read mid-write: the collector has not deleted anything yet
