"""A warmup that is kept when its pool changes (`warmup.when_pool_changes: reuse`).

Each warmup records the keys of its pool's rows, and of the rows it was trained on. Among the intact
warmups in the store with the same settings, a run uses its own if it is there; otherwise the one
whose pool differs least from the run's (of equals the newest), and none that differs by more than
`warmup.renew_at`. The choice is part of the identity of everything that follows, and is recorded in
the run's manifest.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.formatting import percent
from bids_core.training.warmup import warmup_sample
from tasks.prepare import pool_keys

if TYPE_CHECKING:
    from pathlib import Path

    from bids_core.artifacts import Identity
    from bids_core.config import RunConfig

logger = logging.getLogger(__name__)

POOL_KEYS: Final = "pool_keys.npy"
TRAINED_KEYS: Final = "trained_keys.npy"
_DTYPE: Final = "S32"  # hexadecimal digits


class Coverage(BaseModel):
    """How much of a pool a warmup saw."""

    model_config = ConfigDict(frozen=True)

    pool_rows: int
    """Rows of the pool."""
    new_rows: int
    """Rows of the pool that were added after the warmup."""
    trained_rows: int
    """Rows that the warmup was trained on."""
    gone_rows: int
    """Rows among these that are no longer in the pool."""

    @property
    def new_share(self) -> float:
        """Share of the pool that was added after the warmup."""
        return self.new_rows / max(1, self.pool_rows)

    @property
    def gone_share(self) -> float:
        """Share of the rows trained on that have left the pool."""
        return self.gone_rows / max(1, self.trained_rows)

    @property
    def words(self) -> str | None:
        """The difference in words; None if there is none."""
        parts = []
        if self.new_rows:
            parts.append(
                f"{percent(self.new_share)} of the pool ({self.new_rows:,} of "
                f"{self.pool_rows:,} rows) is newer than the warmup, which never saw these "
                "rows"
            )
        if self.gone_rows:
            parts.append(
                f"{self.gone_rows:,} of the {self.trained_rows:,} rows it was trained on have "
                "left the pool"
            )
        return "; ".join(parts) or None


def write_keys(folder: Path, config: RunConfig, data: Handle) -> None:
    """Write to a warmup's folder which rows it could see, and which it was trained on."""
    keys = pool_keys(data)
    sample = warmup_sample(keys, config.warmup.fraction, seed=config.seed)
    for name, chosen in ((POOL_KEYS, keys), (TRAINED_KEYS, [keys[int(row)] for row in sample])):
        np.save(folder / name, np.array(chosen, dtype=_DTYPE), allow_pickle=False)


def coverage(data: Handle, warm: Handle) -> Coverage | None:
    """Return the rows of a pool that a warmup saw; None if the warmup does not list them."""
    folder = warm.path()
    if not (folder / POOL_KEYS).is_file():
        return None
    then, trained = (
        np.load(folder / name, allow_pickle=False) for name in (POOL_KEYS, TRAINED_KEYS)
    )
    now = np.array(pool_keys(data), dtype=_DTYPE)
    return Coverage(
        pool_rows=len(now),
        new_rows=int((~np.isin(now, then)).sum()),
        trained_rows=len(trained),
        gone_rows=int((~np.isin(trained, now)).sum()),
    )


def seen_keys(warm: Handle) -> set[str] | None:
    """Return the keys of the rows in a warmup's pool; None if it did not record them."""
    path = warm.path() / POOL_KEYS
    if not path.is_file():
        return None
    return {key.decode() for key in np.load(path, allow_pickle=False).tolist()}


def kept_warmup(config: RunConfig, data: Handle, identity: Identity) -> Handle | None:
    """Return the warmup in the store that a run keeps using; None if it has to be trained.

    Args:
        config: the run.
        data: its prepared data.
        identity: of the warmup that it would train.
    """
    store = ArtifactStore(config.store)
    section = config.warmup
    if section.when_pool_changes != "reuse" or section.checkpoints or store.get(identity):
        return None
    found: list[tuple[float, str, Handle]] = []
    wanted = json.loads(json.dumps([identity.version, identity.config, identity.seed]))
    for handle in store.ls("warmup"):
        if not store.holds(handle):
            continue
        record = handle.record()
        if [record["algorithm_version"], record["config"], record["seed"]] != wanted:
            continue
        seen = coverage(data, handle)
        if seen is not None and max(seen.new_share, seen.gone_share) <= section.renew_at:
            found.append((seen.new_share + seen.gone_share, record["created"], handle))
    found.sort(key=lambda one: one[1], reverse=True)
    for _, created, handle in sorted(found, key=lambda one: one[0]):
        if store.claim(handle) is not None:
            logger.info("%s of %s is kept", handle.key, created.partition("T")[0])
            return handle
    logger.info(
        "no warmup in the store matches this pool to within %s; training a new one",
        percent(section.renew_at),
    )
    return None


def tell_coverage(config: RunConfig, data: Handle, warm: Handle) -> None:
    """Log what a kept warmup never saw."""
    facts = coverage_facts(config, data, warm)
    if facts is not None and facts["words"]:
        logger.warning("%s", facts["words"])


def coverage_facts(config: RunConfig, data: Handle, warm: Handle) -> dict[str, Any] | None:
    """Return the coverage of a kept warmup, for report and manifest; None for the run's own."""
    seen = coverage(data, warm) if config.warmup.when_pool_changes == "reuse" else None
    if seen is None:
        return None
    return seen.model_dump() | {"words": seen.words}


def sampled_rows(config: RunConfig, data: Handle) -> list[int]:
    """Return the indices of the pool's rows that the warmup would train on."""
    sample = warmup_sample(pool_keys(data), config.warmup.fraction, seed=config.seed)
    return [int(row) for row in sample]
