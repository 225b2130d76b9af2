"""Checks that results can be written to a folder, before anything is computed."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def require_writable(folder: Path, *, key: str) -> None:
    """Check that a folder, or its nearest existing parent, is writable; leaves nothing behind.

    Its subfolders are tried too: those from an earlier run may belong to another user.

    Args:
        folder: where results will go.
        key: configuration key to name in the message.

    Raises:
        ConfigError: a file cannot be written there.
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
