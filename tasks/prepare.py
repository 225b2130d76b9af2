"""Stage `prepare`: files to tokens, rejects and overlap."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.slices import sliced
from bids_core.data import PreparedData, input_digests, prepare
from bids_core.data.row_keys import row_keys
from bids_core.models.load import load_tokenizer
from tasks.identity import tokenizer_digest
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from bids_core.progress import Progress

VERSION: Final = 4


def identify(config: RunConfig) -> Identity:
    """Return the identity of prepared data: the files by content, tokenizer and settings."""
    return Identity(
        "prepare",
        VERSION,
        config={"tokenizer": tokenizer_digest(config), "data": sliced(config.data, "prepare")},
        inputs=input_digests(config, Path.cwd()),
    )


def compute(config: RunConfig, *, draft: Draft, progress: Progress) -> None:
    """Read, tokenize and check the pool, the validation instances and the test rows."""
    tokenizer = load_tokenizer(config.model, config.data.template_args)
    data = prepare(config, tokenizer, base_dir=Path.cwd(), on_progress=progress)
    data.save(draft.path)
    draft.summary |= data.summary
    draft.summary["digests"] = {
        "train": rows_digest(data.train.frame),
        "validation": rows_digest(data.validation.frame),
        "test": test_digest(data.test.frame),
        "sources": hashlib.sha256("\n".join(data.train.frame["source"]).encode()).hexdigest(),
    }


prepare_data = stage_task("prepare", identify, compute, unit="rows")


@lru_cache(maxsize=2)
def load_prepared(handle: Handle) -> PreparedData:
    """Load prepared data; the last two data sets stay in memory."""
    return PreparedData.load(handle.path())


@lru_cache(maxsize=2)
def pool_keys(handle: Handle) -> list[str]:
    """Return the keys of a pool's rows, in order."""
    return row_keys(load_prepared(handle).train.examples())


def test_digest(frame: pd.DataFrame) -> str:
    """Return a digest of the test prompts, as rendered, and of how answers are judged."""
    digest = hashlib.sha256(rows_digest(frame).encode())
    for choices, fields in zip(frame["choices"], frame["fields"], strict=True):
        digest.update(repr((choices, fields)).encode())
    return digest.hexdigest()[:32]


def rows_digest(frame: pd.DataFrame) -> str:
    """Return a digest of what the model will see: row ids, tokens and labels, in order."""
    digest = hashlib.sha256()
    columns = ["row_id", "task", "capability", "subtask", "input_ids", "labels"]
    rows: Iterator[Any] = zip(*(frame[name] for name in columns), strict=True)
    for *identity, input_ids, labels in rows:
        digest.update(repr(identity).encode())
        digest.update(input_ids.tobytes())
        digest.update(labels.tobytes())
    for row_id, weights in zip(frame["row_id"], frame["weights"], strict=True):
        if weights is not None:
            digest.update(repr(row_id).encode() + weights.tobytes())
    return digest.hexdigest()[:32]


def texts_digest(data: Handle) -> str:
    """Return a digest of the texts of pool and validation, which `rows_digest` leaves out."""
    prepared = load_prepared(data)
    digest = hashlib.sha256()
    for text in prepared.train.texts() + prepared.validation.texts():
        digest.update(len(text).to_bytes(8, "little") + text.encode())
    return digest.hexdigest()[:32]


def columns_digest(data: Handle) -> str:
    """Return a digest of the pool's further columns, which `rows_digest` leaves out."""
    digest = hashlib.sha256()
    for extra in load_prepared(data).train.frame["extra"]:
        text = extra or ""
        digest.update(len(text).to_bytes(8, "little") + text.encode())
    return digest.hexdigest()[:32]
