"""Where to find features of single rows in the shards of earlier pools.

Beside its features a shard keeps the keys of its rows (`bids_core.data.row_keys`). A small file in
the store's `.rows/<feature>/` lists each shard under its feature, which is its identity without the
rows. The file only says where to look: a shard counts if it is present and intact. When the shards
of a run are planned, it is looked up once which earlier ones have rows of each. So a new shard
computes only rows that no shard of the same feature had at that time, wherever they are in the
pool.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from bids_core.artifacts import parse_json
from bids_core.artifacts.identity import fingerprint
from bids_core.gradients.known import Known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bids_core.artifacts import ArtifactStore, Handle, Identity

logger = logging.getLogger(__name__)

FOLDER: Final = ".rows"
KEYS: Final = "row_keys.json"


def feature_name(identity: Identity) -> str:
    """Return what all shards of a feature have in common: their identity without the rows."""
    inputs = {name: value for name, value in identity.inputs.items() if name != "rows"}
    return fingerprint(
        identity.stage, version=identity.version, config=identity.config, inputs=inputs
    )


def leave_keys(folder: Path, keys: Sequence[str]) -> None:
    """Write the keys of a shard's rows, in order, to its folder."""
    (folder / KEYS).write_text(json.dumps(list(keys)), encoding="utf-8")


def announce(store: ArtifactStore, identity: Identity) -> None:
    """List a shard in the store as one to look in."""
    folder = f"{store.root}/{FOLDER}/{feature_name(identity)}"
    store.files().replace(f"{folder}/{identity.fingerprint}", b"")


def known_rows(
    store: ArtifactStore,
    identity: Identity,
    keys: Sequence[str],
    *,
    earlier: Sequence[str],
    features: str,
) -> list[Known]:
    """Return which of some rows are in earlier shards of the same feature.

    Args:
        store: the artifact store.
        identity: of the shard that is about to be computed.
        keys: of its rows.
        earlier: fingerprints of the shards to look in.
        features: name of the Zarr group within a shard.
    """
    missing = {key: [place for place, own in enumerate(keys) if own == key] for key in set(keys)}
    found: list[Known] = []
    for name in earlier:
        handle = store.handle(identity.stage, name)
        held = () if name == identity.fingerprint else _keys_of(store, handle)
        rows, places = [], []
        for row, key in enumerate(held):
            for place in missing.get(key, ()):
                rows.append(row)
                places.append(place)
        if not rows or store.claim(handle) is None:
            continue
        for key in held:
            missing.pop(key, None)
        share = handle.summary()["eps_dominated_share"]
        found.append(Known(handle.path() / features, tuple(rows), tuple(places), share))
        if not missing:
            break
    return found


def earlier_shards(store: ArtifactStore, identity: Identity) -> dict[str, tuple[str, ...]]:
    """Return the row keys of each shard of a feature, in order, by the shard's fingerprint.

    This reads a file of every such shard, so call it once per plan, not once per shard.
    """
    found = ((h.fingerprint, _keys_of(store, h)) for h in _announced(store, identity))
    return {name: keys for name, keys in found if keys}


def holders(earlier: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the fingerprints of the shards that hold a row, by the row's key."""
    found: dict[str, list[str]] = {}
    for name, keys in earlier.items():
        for key in keys:
            found.setdefault(key, []).append(name)
    return found


def _announced(store: ArtifactStore, identity: Identity) -> list[Handle]:
    """Return the existing shards of the feature; forget those that are gone."""
    folder = f"{store.root}/{FOLDER}/{feature_name(identity)}"
    found = []
    for name in store.files().names(folder):
        if name.startswith("."):
            continue
        handle = store.handle(identity.stage, name)
        if store.holds(handle):
            found.append(handle)
        elif store.sign_of_life(handle) is None:
            store.files().remove(f"{folder}/{name}")
    return found


def _keys_of(store: ArtifactStore, handle: Handle) -> tuple[str, ...]:
    """Read only the keys: from a remote store, the shard itself is not fetched."""
    content = store.files().read(f"{store.root}/{handle.key}/{KEYS}")
    try:
        keys = parse_json(content or b"[]")
    except ValueError:
        keys = None
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        logger.warning("%s of %s cannot be read; its rows are not reused", KEYS, handle.key)
        return ()
    return tuple(keys)
