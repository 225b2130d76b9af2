"""Influence of every training example on every validation instance.

A_ij = sum_c w_c cos(train_ci, validation_cj): LESS definition 3.1, with w_c the mean learning rate
of the checkpoint's epoch. With dot products in place of cosines it is TracIn's form.

Shapes: N train, M validation, C checkpoints, P projected, b rows of a block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.gradients.store import create_array, unit
from bids_core.influence.stored import new_group
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bids_core.gradients.fisher import FisherMetric
    from bids_core.gradients.store import GradientStore

Floats = npt.NDArray[np.float32]

BLOCK_BYTES: Final = 16 << 20  # float32 train rows held at once, as many as in a float16 chunk


def influence(
    train_features_CNP: npt.ArrayLike,
    validation_features_CMP: npt.ArrayLike,
    checkpoint_weights_C: npt.ArrayLike,
) -> Floats:
    """Return the attribution matrix of features held in memory.

    Args:
        train_features_CNP: [C, N, P] features; the rows are normalised here.
        validation_features_CMP: [C, M, P].
        checkpoint_weights_C: [C], not negative; taken as they are (the warmup's sum to 1).

    Returns:
        [N, M] float32.

    Raises:
        MatrixError: the shapes or weights do not fit.
        DataError: a row is zero; the message names its checkpoint and index.
        NonFiniteError: a row is NaN or infinite.

    Source: LESS definition 3.1.
    """
    train, validation = _features(train_features_CNP), _features(validation_features_CMP)
    if train.shape[0] != validation.shape[0] or train.shape[2] != validation.shape[2]:
        msg = (
            f"train {train.shape} and validation {validation.shape} features differ in checkpoints "
            "or dimension"
        )
        raise MatrixError(msg)
    weights = _weights(checkpoint_weights_C, len(train))
    total = np.zeros((train.shape[1], validation.shape[1]), dtype=np.float32)
    for checkpoint, weight in enumerate(weights):
        train_NP = unit(train[checkpoint], row_ids=_indices("train", checkpoint, train))
        names = _indices("validation", checkpoint, validation)
        total += weight * (train_NP @ unit(validation[checkpoint], row_ids=names).T)
    return total


def stream_influence(
    train_stores: Sequence[GradientStore],
    validation_stores: Sequence[GradientStore],
    checkpoint_weights: Sequence[float],
    out: Path,
    *,
    tasks: Sequence[str],
    capabilities: Sequence[str],
    subtasks: Sequence[str | None] | None = None,
    attributes: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    metrics: Sequence[FisherMetric] | None = None,
    dot: bool = False,
    on_progress: Progress = silent,
) -> None:
    """Compute the attribution matrix from gradient stores, a block of train rows at a time.

    Memory holds the validation features of all checkpoints and two blocks of train rows.

    Args:
        train_stores: one per checkpoint, the same rows in the same order in each.
        validation_stores: likewise.
        checkpoint_weights: one per checkpoint; taken as they are (the warmup's sum to 1).
        out: Zarr group to write.
        tasks: task of each validation row.
        capabilities: capability of each validation row.
        subtasks: subtask of each validation row, None where it has none.
        attributes: further attributes to store, JSON-serialisable.
        keep_checkpoints: also write `checkpoint_0`, ..., [N, M] each, before weighting.
        metrics: one per checkpoint, to take cosines in the Fisher metric (TRAK's kernel) instead of
            the plain one.
        dot: take dot products of the projected features instead of cosines (TracIn).
        on_progress: called with how many train rows are done.

    Raises:
        MatrixError: stores, weights and labels do not match.
        ArtifactError: a chunk is lost or damaged.
    """
    _require_alike(train_stores, "train")
    _require_alike(validation_stores, "validation")
    if len(train_stores) != len(validation_stores):
        msg = f"{len(train_stores)} train stores but {len(validation_stores)} validation stores"
        raise MatrixError(msg)
    if train_stores[0].dim != validation_stores[0].dim:
        msg = "train and validation features have different dimensions; compute both again"
        raise MatrixError(msg)
    weights = _weights(checkpoint_weights, len(train_stores))
    n_rows, dim = train_stores[0].n_rows, train_stores[0].dim
    if metrics is not None and len(metrics) != len(weights):
        msg = f"{len(metrics)} metrics for {len(weights)} checkpoints"
        raise MatrixError(msg)
    if metrics and dot:
        msg = "a Fisher metric gives cosines: choose it or dot products, not both"
        raise MatrixError(msg)
    validation_CMP = [store.rows(0, store.n_rows) for store in validation_stores]
    if metrics:
        ids = validation_stores[0].row_ids
        validation_CMP = [
            metric.whiten(rows, row_ids=ids)
            for metric, rows in zip(metrics, validation_CMP, strict=True)
        ]
    norms_CN = [store.norms for store in train_stores] if dot else []
    if dot:
        validation_CMP = [
            rows * store.norms[:, None]
            for rows, store in zip(validation_CMP, validation_stores, strict=True)
        ]
    labels = {
        "validation_ids": validation_stores[0].row_ids,
        "tasks": list(tasks),
        "capabilities": list(capabilities),
        "subtasks": [subtask or "" for subtask in subtasks or [None] * len(tasks)],
    }
    group = new_group(out, train_stores[0].row_ids, labels, weights, attributes or {})
    block = max(1, BLOCK_BYTES // (4 * dim))
    shape = (n_rows, len(labels["tasks"]))
    matrix = create_array(group, "attribution", shape=shape, dtype="float32",
                          dimensions=("train", "validation"), chunk_rows=block)  # fmt: skip
    parts = [
        create_array(group, f"checkpoint_{c}", shape=shape, dtype="float32",
                     dimensions=("train", "validation"), chunk_rows=block)
        for c in range(len(weights) if keep_checkpoints else 0)
    ]  # fmt: skip
    total = np.zeros((0, shape[1]), dtype=np.float32)
    for checkpoint, start, rows_bP in _read_ahead(train_stores, block):
        stop = start + len(rows_bP)
        if metrics:
            ids = train_stores[0].row_ids[start:stop]
            rows_bP = metrics[checkpoint].whiten(rows_bP, row_ids=ids)
        cosines_bM = rows_bP @ validation_CMP[checkpoint].T
        if dot:
            cosines_bM *= norms_CN[checkpoint][start:stop, None]
        if parts:
            parts[checkpoint][start:stop] = cosines_bM
        if checkpoint == 0:
            total = np.zeros_like(cosines_bM)
        total += weights[checkpoint] * cosines_bM
        if checkpoint == len(train_stores) - 1:
            matrix[start:stop] = total
            on_progress(stop, n_rows)


def _read_ahead(stores: Sequence[GradientStore], block: int) -> Iterator[tuple[int, int, Floats]]:
    """Yield (checkpoint, first row, unit rows): all checkpoints of a block, then the next block.

    The following block is read from disk while the caller works on this one.
    """
    n_rows = stores[0].n_rows
    places = [(c, start) for start in range(0, n_rows, block) for c in range(len(stores))]

    def read(place: tuple[int, int]) -> Floats:
        return stores[place[0]].rows(place[1], min(place[1] + block, n_rows))

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, places[0]) if places else None
        for index, (checkpoint, start) in enumerate(places):
            assert coming is not None  # noqa: S101 - for the type checker
            rows_bP = coming.result()
            if index + 1 < len(places):
                coming = reader.submit(read, places[index + 1])
            yield checkpoint, start, rows_bP


def _require_alike(stores: Sequence[GradientStore], what: str) -> None:
    if not stores:
        msg = f"no {what} gradient store"
        raise MatrixError(msg)
    for checkpoint, store in enumerate(stores):
        if store.row_ids != stores[0].row_ids or store.dim != stores[0].dim:
            msg = (
                f"the {what} gradient store of checkpoint {checkpoint} has different rows "
                "from that of checkpoint 0; leave rejected rows out of all of them"
            )
            raise MatrixError(msg)


def _features(values: npt.ArrayLike) -> Floats:
    array: Floats = np.asarray(values, dtype=np.float32)
    if array.ndim != 3:
        msg = f"features are [checkpoints, rows, dimension], not of shape {array.shape}"
        raise MatrixError(msg)
    return array


def _weights(values: npt.ArrayLike, n_checkpoints: int) -> Floats:
    weights = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(weights) != n_checkpoints:
        msg = f"{len(weights)} checkpoint weights for {n_checkpoints} checkpoints"
        raise MatrixError(msg)
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        msg = f"checkpoint weights must be finite, not negative and positive in sum: {weights}"
        raise MatrixError(msg)
    single: Floats = weights.astype(np.float32)
    return single


def _indices(split: str, checkpoint: int, features: Floats) -> list[str]:
    return [f"{split} row {i} of checkpoint {checkpoint}" for i in range(features.shape[1])]
