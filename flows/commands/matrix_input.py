"""Shared by `bids select` and `bids analyze`: reading their files, showing warnings."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bids_core.influence.files import LabelledMatrix
    from bids_core.influence.labels import Labels


def open_labelled(matrix: Path, tasks: Path | None, sources: Path | None) -> LabelledMatrix:
    """Read a matrix with the user's labels, in addition to its own."""
    from dataclasses import replace

    from bids_core.influence.files import read_matrix

    labelled = read_matrix(matrix)
    return replace(labelled, labels=with_files(labelled.labels, tasks, sources))


def require_files(**paths: Path | None) -> None:
    """Check that the files named by options exist, before any is read.

    Args:
        paths: by the option's name, with underscores; None if it was not given.

    Raises:
        UserError: one does not exist.
    """
    from bids_core.errors import UserError

    for name, path in paths.items():
        if path is not None and not path.exists():
            msg = (
                f"--{name.replace('_', '-')} {path} does not exist; name a file that does "
                f"(relative paths start at the current folder, {path.cwd()})"
            )
            raise UserError(msg)


def with_files(labels: Labels, tasks: Path | None, sources: Path | None) -> Labels:
    """Add the user's labels."""
    require_files(tasks=tasks, sources=sources)
    if tasks is not None:
        labels = labels.with_file(tasks, of="tasks")
    if sources is not None:
        labels = labels.with_file(sources, of="sources")
    return labels


def refuse_matrix(path: Path) -> None:
    """Refuse a matrix given in place of picks, with advice.

    Raises:
        UserError: the file or folder contains a matrix.
    """
    from bids_core.errors import UserError

    if _is_matrix(path):
        msg = (
            f"{path} is an attribution matrix, and only picks from it can be explained: run "
            f"`bids select {path} --budget N --out picks.parquet`, then `bids explain "
            "picks.parquet ROW`"
        )
        raise UserError(msg)


def _is_matrix(path: Path) -> bool:
    """Return whether a file has columns of numbers and none of the columns of picks."""
    from bids_core.errors import UserError
    from bids_core.influence.files import read_matrix
    from bids_core.influence.labels import read_frame

    suffix = path.suffix.lower()
    if suffix in (".parquet", ".csv") and {"rank", "utility"} & set(read_frame(path).columns):
        return False
    try:
        return read_matrix(path).matrix.n_columns > 0
    except UserError:
        return False


def open_inputs(
    *,
    matrix: Path | None,
    tasks: Path | None,
    sources: Path | None,
    texts: Path | None,
    validation_texts: Path | None,
    representations: Path | None,
    validation_representations: Path | None,
    perplexities: Path | None,
) -> tuple[Labels, dict[str, Any]]:
    """Read the given inputs of a selection.

    Returns:
        Names of rows and columns (from the first input that has them), and the inputs in the form
        of `bids_core.selection.select`.

    Raises:
        UserError: a file cannot be read, or no input was given.
    """
    from bids_core.errors import UserError
    from bids_core.influence.files import read_matrix
    from bids_core.influence.labels import Labels
    from bids_core.selection.signal_files import read_perplexities, read_texts

    require_files(
        tasks=tasks,
        sources=sources,
        texts=texts,
        validation_texts=validation_texts,
        representations=representations,
        validation_representations=validation_representations,
        perplexities=perplexities,
    )
    inputs: dict[str, Any] = {"attribution": None}
    rows: list[tuple[int, Any]] = []  # (number, names)
    columns: list[tuple[int, Any]] = []
    labels = None
    if matrix is not None:
        labelled = read_matrix(matrix)
        inputs["attribution"], labels = labelled.matrix, labelled.labels
    for name, path, axis in (
        ("representations", representations, rows),
        ("validation_representations", validation_representations, columns),
    ):
        if path is not None:
            states = read_matrix(path).matrix
            inputs[name] = states.values
            axis.append((states.n_rows, states.row_ids))
    for name, path, axis in (
        ("texts", texts, rows),
        ("validation_texts", validation_texts, columns),
    ):
        if path is not None:
            ids, inputs[name] = read_texts(path)
            axis.append((len(inputs[name]), ids))
    if perplexities is not None:
        inputs["perplexities"] = read_perplexities(perplexities)
        rows.append((inputs["perplexities"].size, None))
    if labels is None:
        if not rows:
            msg = "nothing to select from: give a MATRIX (or --texts, --representations, ...)"
            raise UserError(msg)
        n_rows, row_ids = rows[0]
        n_columns, validation_ids = columns[0] if columns else (None, None)
        labels = Labels(n_rows, n_columns, row_ids, validation_ids)
    return with_files(labels, tasks, sources), inputs


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Print warnings about columns as lines on standard error; leave other warnings alone."""
    from bids_core.influence.normalization import ColumnWarning
    from flows.console import error_console

    console = error_console()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said: set[str] = set()
    for warning in caught:
        if str(warning.message) in said:
            continue
        said.add(str(warning.message))
        if issubclass(warning.category, ColumnWarning):
            console.print("[yellow]warning:[/] ", end="")
            console.print(str(warning.message), markup=False)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@contextmanager
def naming_options() -> Iterator[None]:
    """Name the option for an input that a method needs and was not given."""
    from bids_core.errors import MissingInputError, UserError

    try:
        yield
    except MissingInputError as error:
        option = f"--{error.name.replace('_', '-')} FILE"
        msg = f"{error.who} needs {option}: {error.what} (`--help` lists the forms)"
        raise UserError(msg) from error
