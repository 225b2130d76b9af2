"""Influence of every training example on every validation instance.

A_ij = sum_c w_c cos(train_ci, validation_cj): LESS definition 3.1, with w_c the mean learning rate
of the checkpoint's epoch. With dot products in place of cosines it is TracIn's form.

Shapes: N train, M validation, C checkpoints, P projected, b rows of a block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import zarr

from bids_core.errors import ArtifactError, MatrixError
from bids_core.gradients.store import create_array, unit, write_array
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bids_core.gradients.fisher import FisherMetric
    from bids_core.gradients.store import GradientStore
    from bids_core.influence.landmarks import Landmarks

Floats = npt.NDArray[np.float32]

_BLOCK_BYTES: Final = 16 << 20  # float32 train rows held at once, as many as a float16 chunk has
_ERROR: Final = "expected_error"
_NAMES: Final = ("validation_ids", "tasks", "capabilities", "subtasks")


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
        DataError: a row is zero; named by checkpoint and index.
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

    Holds the validation features of all checkpoints and two blocks of train rows.

    Args:
        train_stores: one a checkpoint, the same rows in the same order in each.
        validation_stores: likewise.
        checkpoint_weights: one a checkpoint; taken as they are (the warmup's sum to 1).
        out: Zarr group to write.
        tasks: task of each validation row.
        capabilities: capability of each validation row.
        subtasks: subtask of each validation row, None where it has none.
        attributes: what else to write down, JSON-serialisable.
        keep_checkpoints: also write `checkpoint_0`, ..., [N, M] each, before weighting.
        metrics: one a checkpoint, to take cosines in the Fisher metric (TRAK's kernel) instead of
            the plain one.
        dot: take dot products of the projected features instead of cosines (TracIn).
        on_progress: told how many train rows are done.

    Raises:
        MatrixError: stores, weights or labels do not fit together.
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
    group = _new_group(out, train_stores[0].row_ids, labels, weights, attributes or {})
    block = max(1, _BLOCK_BYTES // (4 * dim))
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
    """Yield (checkpoint, first row, unit rows), every checkpoint of a block before the next block.

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


def write_inferred(
    out: Path,
    known: Attribution,
    fitted: Landmarks,
    store: GradientStore,
    *,
    on_progress: Progress = silent,
) -> None:
    """Write the attribution matrix of a whole pool, inferred from that of its landmarks.

    The landmarks keep their own influence; the array `expected_error` says how far off the others'
    is expected to be.

    Args:
        out: Zarr group to write.
        known: the landmarks' influence; its rows are among the store's.
        fitted: what `fit_landmarks` made of it.
        store: representations of the whole pool, in order.
        on_progress: told how many rows are done.

    Raises:
        ArtifactError: a chunk is lost or damaged.
    """
    place = {row_id: row for row, row_id in enumerate(store.row_ids)}
    exact = {place[row_id]: values for row_id, values in zip(
        known.row_ids, known.values(), strict=True
    )}  # fmt: skip
    labels = {name: getattr(known, name) for name in _NAMES}
    weights = np.asarray(known.checkpoint_weights, dtype=np.float32)
    attributes = {"checkpoint_numbers": list(known.checkpoint_numbers)}
    group = _new_group(out, store.row_ids, labels, weights, attributes)
    shape = (store.n_rows, len(known.tasks))
    block = max(1, _BLOCK_BYTES // (4 * max(store.dim, shape[1])))
    matrix = create_array(group, "attribution", shape=shape, dtype="float32",
                          dimensions=("train", "validation"), chunk_rows=block)  # fmt: skip
    error = np.zeros(store.n_rows, dtype=np.float32)
    for start in range(0, store.n_rows, block):
        stop = min(start + block, store.n_rows)
        values, error[start:stop] = fitted.predict(store.rows(start, stop))
        values = values.astype(np.float32)
        for row in range(start, stop):
            if row in exact:
                values[row - start], error[row] = exact[row], 0.0
        matrix[start:stop] = values
        on_progress(stop, store.n_rows)
    write_array(group, _ERROR, error, dimensions=("train",))


@dataclass(frozen=True)
class Attribution:
    """An attribution matrix with the names of its rows and columns.

    Args:
        matrix: [N, M] float32 Zarr array; read it by slices, or whole with `matrix[:]`.
        row_ids: [N] train rows.
        validation_ids: [M].
        tasks: [M] task of each validation instance.
        capabilities: [M].
        subtasks: [M], "" where there is none.
        checkpoint_weights: [C], as they were used.
        parts: the checkpoints' own [N, M] arrays, if they were kept.
        checkpoint_numbers: [C] which checkpoints of the warmup they are, from 1.
        pool_rows: rows of the pool; more than N where some were screened out.
        expected_error: [N] of an inferred matrix (`bids_core.influence.landmarks`): how far off a
            row's entries are expected to be, in standard deviations of the columns; 0 for the
            landmarks. None where all is computed.
    """

    matrix: zarr.Array[Any]
    row_ids: list[str]
    validation_ids: list[str]
    tasks: list[str]
    capabilities: list[str]
    subtasks: list[str]
    checkpoint_weights: list[float]
    parts: tuple[zarr.Array[Any], ...] = ()
    checkpoint_numbers: tuple[int, ...] = ()
    pool_rows: int = 0
    expected_error: Floats | None = None

    def values(self) -> Floats:
        """Return the whole matrix, [N, M] float32.

        Raises:
            ArtifactError: a chunk is lost or damaged.
        """
        return _read(self.matrix)

    def checkpoints(self) -> Floats:
        """Return each checkpoint's cosines, [C, N, M] float32.

        Raises:
            MatrixError: they were not kept.
            ArtifactError: a chunk is lost or damaged.
        """
        if not self.parts:
            msg = "the parts of the checkpoints were not kept; compute with keep_checkpoints"
            raise MatrixError(msg)
        return np.stack([_read(part) for part in self.parts])


def open_attribution(folder: Path) -> Attribution:
    """Open what `stream_influence` wrote.

    Raises:
        ArtifactError: it is not there or damaged.
    """
    try:
        group = zarr.open_group(folder, mode="r", zarr_format=3)
        names = [[str(v) for v in np.asarray(group[n][:])] for n in ("row_ids", *_NAMES)]  # type: ignore[index]
        matrix = group["attribution"]
        weights = [float(str(w)) for w in group.attrs["checkpoint_weights"]]  # type: ignore[union-attr]
        counted = list(range(1, len(weights) + 1))
        numbers = tuple(int(str(n)) for n in group.attrs.get("checkpoint_numbers", counted))  # type: ignore[union-attr]
        if not all(all(labels) for labels in names[:-1]):  # subtasks alone may be empty
            raise _missing("names")
    except (OSError, KeyError, ValueError, TypeError) as error:
        msg = f"attribution matrix {folder} cannot be read ({error}); run the stage again"
        raise ArtifactError(msg) from error
    assert isinstance(matrix, zarr.Array)  # noqa: S101 - for the type checker
    row_ids, validation_ids, tasks, capabilities, subtasks = names
    found = [group.get(f"checkpoint_{c}") for c in range(len(weights))]
    parts = tuple(part for part in found if isinstance(part, zarr.Array))
    off = group.get(_ERROR)
    pool_rows = int(str(group.attrs.get("pool_rows", len(row_ids))))
    return Attribution(
        matrix, row_ids, validation_ids, tasks, capabilities, subtasks, weights, parts, numbers,
        pool_rows, _read(off) if isinstance(off, zarr.Array) else None,
    )  # fmt: skip


def _read(array: zarr.Array[Any]) -> Floats:
    try:
        values: Floats = np.asarray(array[:])
    except (OSError, ValueError) as error:
        msg = f"the attribution matrix cannot be read ({error}); run the stage again"
        raise ArtifactError(msg) from error
    if not np.isfinite(values).all():
        raise _missing("values")
    return values


def _missing(what: str) -> ArtifactError:
    return ArtifactError(f"some {what} of the attribution matrix are missing; run the stage again")


def _new_group(
    out: Path,
    row_ids: list[str],
    labels: dict[str, list[str]],
    weights: Floats,
    attributes: Mapping[str, Any],
) -> zarr.Group:
    lengths = {name: len(values) for name, values in labels.items()}
    if len(set(lengths.values())) != 1:
        msg = f"validation rows and their labels differ in number: {lengths}"
        raise MatrixError(msg)
    group = zarr.open_group(out, mode="w-", zarr_format=3)
    group.attrs.update({"checkpoint_weights": [float(w) for w in weights], **attributes})
    write_array(group, "row_ids", row_ids, dimensions=("train",))
    for name, values in labels.items():
        write_array(group, name, values, dimensions=("validation",))
    return group


def _require_alike(stores: Sequence[GradientStore], what: str) -> None:
    if not stores:
        msg = f"no {what} gradient store"
        raise MatrixError(msg)
    for checkpoint, store in enumerate(stores):
        if store.row_ids != stores[0].row_ids or store.dim != stores[0].dim:
            msg = (
                f"the {what} gradient store of checkpoint {checkpoint} holds other rows than that "
                "of checkpoint 0; leave rejected rows out of all of them"
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
