"""Whether results can be written to a folder, found out before anything is computed."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def require_writable(folder: Path, *, key: str) -> None:
    """Write a file into a folder, or into the nearest folder above it that exists; nothing is left.

    Folders within it are tried too: what an earlier run of another user made is often theirs.

    Args:
        folder: where results will go.
        key: of the configuration, for the message.

    Raises:
        ConfigError: no file can be written there.
    """
    place = folder
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        within = [child for child in folder.iterdir() if child.is_dir()] if folder.exists() else []
        for place in (place, *within):  # noqa: B020 - the message names where it stopped
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        where = str(folder) if place == folder else f"{folder} ({place})"
        msg = (
            f"{key}: {where} is not writable ({error.strerror}); give another folder, or "
            "change its permissions"
        )
        raise ConfigError(msg) from error
