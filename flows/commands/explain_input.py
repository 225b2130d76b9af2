"""The input of `bids explain`: a run's folder, or picks written by `bids select`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.errors import ArtifactError, BidsError, UserError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bids_core.influence.files import LabelledMatrix
    from bids_core.selection import Selection

_LONGEST: Final = 1200


@dataclass(frozen=True)
class ExplainInput:
    """The data of an explanation.

    Args:
        labelled: the influence, and the names of its rows and columns.
        selection: the picks, with their method and normalisation.
        method: display name of the method.
        seed: of the selection.
        text_of: returns the text of a row id or validation id, None if unknown.
        lacking: in words, what is missing.
        locations: file and line of the rows, if known, by row id.
        rejects: why a row was left out of the pool, by its location and by `source:line`.
    """

    labelled: LabelledMatrix
    selection: Selection
    method: str
    seed: int
    text_of: Callable[[str], str | None]
    lacking: str | None = None
    locations: Mapping[str, str] = field(default_factory=dict)
    rejects: Mapping[str, str] = field(default_factory=dict)


def open_run(folder: Path, method: str | None) -> ExplainInput:
    """Open a run: from its folder, and from the store what the folder lacks.

    Raises:
        UserError: the folder is not a run's, the run has no such selection, a part is missing or
            damaged, or the selection was made by code that the caller did not name.
    """
    with damaged_in_one_line(folder):
        return _open_run(folder, method)


def _open_run(folder: Path, method: str | None) -> ExplainInput:
    from bids_core.selection.names import method_name
    from tasks.explain_files import FOLDER, INFLUENCE, PICKS, TEXTS
    from tasks.manifest import read_manifest

    manifest = read_manifest(folder)
    result, section = manifest.result, manifest.settings["selection"]
    asked = (section["method"], *section.get("compare", ()))
    known = {method_name(one): one for one in asked}
    name = method_name(method or section["method"])
    made = result.get("selections", {})
    if result.get("matrix") is None or name not in made:
        listed = ", ".join(made) or "none"
        msg = f"{folder}: the run has no selection of method {name!r} (it has: {listed})"
        raise UserError(msg)
    own = folder / FOLDER
    place = _Places(folder)
    matrix = place.require(own / INFLUENCE, result["matrix"], "*.zarr", "its influence is")
    picks = place.require(own / PICKS / f"{name}.parquet", made[name], "*.parquet", "its picks are")
    texts = [
        place.find(own / file, result["data"], f"{split}.parquet")
        for file, split in zip(TEXTS, ("train", "validation"), strict=True)
    ]
    labelled, conversations = _with_texts(matrix, *texts)
    normalization = section.get("normalization", "zscore")
    made_by = _trusted(known.get(name, name), method, folder)
    selection = _with_method(picks, labelled, made_by, normalization)
    seed = section.get("seed")
    return ExplainInput(
        labelled,
        selection,
        name,
        int(manifest.settings.get("seed") or 0) if seed is None else seed,
        conversations,
        None if all(texts) else place.lacking(result["data"], "its texts are"),
        _locations(texts[0]),
        _rejects(folder),
    )


def open_picks(
    picks: Path,
    *,
    method: str | None,
    matrix: Path | None,
    tasks: Path | None,
    sources: Path | None,
    texts: Path | None,
    validation_texts: Path | None,
) -> ExplainInput:
    """Open picks of `bids select`, and the matrix from which they were selected.

    Raises:
        UserError: a file cannot be read, or the picks do not record their origin.
    """
    from bids_core.selection.files import read_origin
    from bids_core.selection.signal_files import read_texts
    from flows.commands.matrix_input import open_labelled, refuse_matrix, require_files

    given = {
        "matrix": matrix, "tasks": tasks, "sources": sources, "texts": texts,
        "validation_texts": validation_texts,
    }  # fmt: skip
    require_files(**given)
    with damaged_in_one_line(picks):
        origin = read_origin(picks)
    files = {name: path or _written(picks, origin, name) for name, path in given.items()}
    if files["matrix"] is None:
        refuse_matrix(picks)
        msg = (
            f"{picks} does not name its matrix: add --matrix FILE (and --method, unless it "
            "was bids); .parquet files of `bids select --out` do name it"
        )
        raise UserError(msg)
    labelled = open_labelled(files["matrix"], files["tasks"], files["sources"])
    name = _trusted(str(origin.get("method", "bids")), method, picks)
    normalization = origin.get("normalization", "zscore")
    selection = _with_method(picks, labelled, name, normalization)
    found: dict[str, str] = {}
    ids = labelled.matrix.row_ids, labelled.matrix.validation_ids
    for file, names in zip((files["texts"], files["validation_texts"]), ids, strict=True):
        if file is not None:
            said, contents = read_texts(file)
            named = said or names or [str(place) for place in range(len(contents))]
            found |= {
                str(one): _shortened(text) for one, text in zip(named, contents, strict=False)
            }
    return ExplainInput(labelled, selection, name, int(origin.get("seed", 0)), found.get)


@contextmanager
def damaged_in_one_line(place: Path) -> Iterator[None]:
    """Report in one line that a file of a run is damaged, whatever error reading it raised.

    Raises:
        UserError: something other than our own errors was raised.
    """
    try:
        yield
    except BidsError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {brief(error)}"
        msg = f"{place}: its facts about the run cannot be read ({reason}); run again"
        raise UserError(msg) from error


def _trusted(written: str, given: str | None, place: Path) -> str:
    """Return the method of picks; code named only in their files is not run.

    Raises:
        UserError: the files name code and the caller named none.
    """
    from bids_core.own_code import function_name, is_own

    if given is not None and is_own(given):
        return given
    if is_own(written) and given in (None, function_name(written)):
        msg = (
            f"{place} names code that made its picks, {brief(repr(written))}, and explaining "
            f"them would run it; if you trust it, add --method {brief(written)}"
        )
        raise UserError(msg)
    return written if given is None or given == function_name(written) else given


def _written(picks: Path, origin: Mapping[str, Any], name: str) -> Path | None:
    """Return a file named in picks, relative to their own folder.

    Picks may come from anywhere: a file they name is read only in their folder or the current one.
    """
    if not origin.get(name):
        return None
    path = picks.parent / str(origin[name])
    try:
        place = path.resolve()
    except (OSError, RuntimeError, ValueError):  # circular links, NUL
        place = None
    near = (picks.resolve().parent, Path.cwd().resolve())
    if place is None or not any(place.is_relative_to(folder) for folder in near):
        msg = (
            f"{picks} names {brief(repr(str(path)))}, which is neither in its folder nor in "
            f"the current one; if you trust it, add --{name.replace('_', '-')} FILE"
        )
        raise UserError(msg)
    if not path.exists():
        msg = (
            f"{picks} was made from {path}, which does not exist: add "
            f"--{name.replace('_', '-')} FILE"
        )
        raise UserError(msg)
    return path


@dataclass(frozen=True)
class _Places:
    """Where the parts of a run are: in its folder, otherwise in the store."""

    folder: Path

    def find(self, copy: Path, handle: Mapping[str, str], pattern: str) -> Path | None:
        """Return the path of a part, None if it is missing."""
        from bids_core.artifacts import Handle

        if copy.exists():
            return copy
        try:
            found: list[Path] = sorted(Handle(**handle).path().glob(pattern))
        except ArtifactError:
            return None
        return found[0] if found else None

    def require(self, copy: Path, handle: Mapping[str, str], pattern: str, what: str) -> Path:
        """Return the path of a part.

        Raises:
            UserError: it is missing.
        """
        found = self.find(copy, handle, pattern)
        if found is None:
            raise UserError(self.lacking(handle, what))
        return found

    def lacking(self, handle: Mapping[str, str], what: str) -> str:
        """Describe a missing part, and how to get it."""
        return (
            f"{self.folder}: {what} neither in the folder nor in the store ({handle['store']} "
            f"has no {handle['stage']}/{handle['fingerprint']}); copy the store to that "
            "place, or run again"
        )


def _with_texts(
    matrix: Path, pool: Path | None, validation: Path | None
) -> tuple[LabelledMatrix, Callable[[str], str | None]]:
    """Read a matrix with the sources of its rows, and the texts of rows and instances."""
    from bids_core.data import read_table
    from bids_core.influence.files import read_matrix

    labelled = read_matrix(matrix)
    messages: dict[str, str] = {}
    for path in (validation, pool):
        if path is None:
            continue
        frame = read_table(path, columns=["row_id", "source", "messages"])
        messages |= dict(zip(frame["row_id"].map(str), frame["messages"], strict=True))
        if path == pool:
            source_of = dict(zip(frame["row_id"].map(str), frame["source"].map(str), strict=True))
            sources = tuple(source_of[name] for name in labelled.matrix.row_ids or ())
            labelled = replace(labelled, labels=replace(labelled.labels, sources=sources))

    def text_of(name: str) -> str | None:
        return _spoken(messages[name]) if name in messages else None

    return labelled, text_of


def _locations(pool: Path | None) -> dict[str, str]:
    """Return the file and line of each row of the pool; empty for runs that did not keep them."""
    import pyarrow.parquet as pq

    from bids_core.data import read_table

    if pool is None or "location" not in pq.read_schema(pool).names:
        return {}
    frame = read_table(pool, columns=["row_id", "location"])
    return dict(zip(frame["row_id"].map(str), frame["location"].map(str), strict=True))


def _rejects(folder: Path) -> dict[str, str]:
    """Return why rows of the pool were left out, by location and by `source:line`."""
    from bids_core.artifacts import LISTED_BYTES, parse_json, read_small_text

    path = folder / "rejects.jsonl"
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for line in read_small_text(path, most=LISTED_BYTES).splitlines():
        one = parse_json(line)
        if one["split"] != "train":
            continue
        location = str(one["location"])
        named = str(one.get("row_id") or f"{one['source']}:{location.rpartition(':')[2]}")
        found[location] = found[named] = f"{location}: {one['reason']}: {one['detail']}"
    return found


def _spoken(messages: str) -> str:
    from bids_core.data import from_json
    from bids_core.data.conversation import said

    return _shortened("\n".join(f"{one.role}: {said(one)}" for one in from_json(messages)))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _with_method(
    picks: Path, labelled: LabelledMatrix, method: str, normalization: str
) -> Selection:
    from bids_core.selection import METHODS, Selection
    from bids_core.selection.files import read_selection

    selection = read_selection(picks, labelled.labels)
    if not isinstance(selection, Selection):
        msg = (
            f"{picks} has no utilities; `bids select --out` writes them to .parquet, .csv and .json"
        )
        raise UserError(msg)
    used = method not in METHODS or METHODS[method].normalized
    return replace(selection, method=method, normalization=normalization if used else "none")
