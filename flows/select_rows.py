"""From rows in memory, a model and validation rows to picks: the pipeline in one Python call.

It runs the same flow as `bids run`, with the same store and run folder; only the rows come from
Python instead of files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bids_core.config import RunConfig
from bids_core.config.load import check_config
from bids_core.errors import ArtifactError, ConfigError, DataError
from flows.rows import Rows, rows_of, write_rows

if TYPE_CHECKING:
    import pandas as pd

    from bids_core.data import PreparedData
    from bids_core.influence.files import LabelledMatrix
    from bids_core.selection import Selection
    from flows.select_data import Stage
    from tasks.run_result import RunResult

Pool: TypeAlias = "Rows | Mapping[str, Rows]"
_POOL: Final = "pool"
_INPUT: Final = "input"


@dataclass(frozen=True, repr=False)
class RowSelection:
    """The result of `select_rows`.

    Args:
        selection: the picks, with names; `.plot()`, `.to_frame()`.
        rows: the picked rows as they were given, best first.
        indices: their indices in the given pool (its sources one after the other).
        rejects: one line per row that was left out, with the reason.
        matrix: the attribution matrix, for `bids_core.analyze` and `bids_core.explain`.
        folder: the run's folder, with `report.html`, `selected/` and `manifest.json`.
        config: the configuration that was run.
    """

    selection: Selection
    rows: list[dict[str, Any]]
    indices: list[int]
    rejects: pd.DataFrame
    matrix: LabelledMatrix
    folder: Path
    config: RunConfig

    @property
    def report(self) -> Path:
        """Path of the report, an HTML page."""
        return self.folder / "report.html"

    def __len__(self) -> int:
        """Return the number of picks."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        left = f", {len(self.rejects)} rejected" if len(self.rejects) else ""
        return f"<RowSelection: {self.selection.words()}{left}; report {self.report}>"

    def _repr_html_(self) -> str:
        return (
            f"{self.selection._repr_html_()}<p>{len(self.rejects)} rows rejected; "
            f"report: {escape(str(self.report))}</p>"
        )


def select_rows(
    pool: Pool,
    validation: Mapping[str, Rows],
    *,
    model: str | Path | Mapping[str, Any],
    budget: int | float | str = 0.15,
    method: str = "bids",
    test: Mapping[str, Rows] | None = None,
    capabilities: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str = "rows",
    output_dir: str | Path = "runs",
    store: str | Path = ".bids",
) -> RowSelection:
    """Select the rows worth training on: warmup, gradients, attribution and selection in one call.

    Results computed earlier with the same rows and settings are reused.

    Args:
        pool: the rows to choose from: a list of dictionaries, a pandas frame or a
            `datasets.Dataset`, in any format that `bids run` reads (messages, prompt/completion,
            Alpaca, ...); or several of them by the name of the source.
        validation: a few rows of each task that the model should be good at, by task name, in the
            same forms.
        model: folder, hub name or `bundled:smollm2-135m-instruct`; or the `model` section of a
            configuration.
        budget: how many rows: a count (500) or a fraction of the pool (0.15, "15%").
        method: how rows are picked; see docs/selection.md.
        test: held-out rows by task. With them the model is fine-tuned on the picks and scored.
        capabilities: the capability of each task; by default each task is its own.
        settings: other fields of the configuration by dotted name: `{"warmup.epochs": 2}`.
        name: of the run; its folder is `output_dir/name`.
        output_dir: parent of the run's folder.
        store: artifact store, a folder or URL.

    Returns:
        The picks, the rows themselves, and where the report is.

    Raises:
        ConfigError: a setting is invalid, or the arguments contradict each other.
        DataError: the rows cannot be used; the message says which and why.
        ModelError: the model cannot be loaded.
    """
    sources = _by_source(pool)
    folder = Path(output_dir).expanduser() / name
    content: dict[str, Any] = {
        "name": name,
        "model": dict(model) if isinstance(model, Mapping) else {"path": str(model)},
        "output_dir": str(output_dir),
        "store": str(store),
        "selection": {"budget": budget, "method": method} | ({} if test else {"compare": []}),
        "pool": _written(folder, _POOL, sources),
        "validation": _tasks(folder, "validation", validation, capabilities),
        "test": _tasks(folder, "test", test or {}, capabilities),
    }
    for key, value in (settings or {}).items():
        _set(content, key, value)
    config = check_config(content, origin="select_rows")
    result = _run(config, until="report" if test else "selection")
    return _collect(config, result, sources)


def _by_source(pool: Pool) -> dict[str, list[dict[str, Any]]]:
    if isinstance(pool, Mapping):
        return {str(name): rows_of(rows, f"pool[{name!r}]") for name, rows in pool.items()}
    return {_POOL: rows_of(pool, "pool")}


def _tasks(
    folder: Path,
    split: str,
    tasks: Mapping[str, Rows],
    capabilities: Mapping[str, str] | None,
) -> list[dict[str, str]]:
    if not isinstance(tasks, Mapping):
        msg = f"`{split}` must be a dictionary from task to rows, not {type(tasks).__name__}"
        raise DataError(msg)
    rows = {str(task): rows_of(given, f"{split}[{task!r}]") for task, given in tasks.items()}
    known = capabilities or {}
    unknown = sorted(set(known) - set(map(str, tasks))) if split == "validation" else []
    if unknown:
        msg = f"`capabilities` names task {unknown[0]!r}, which is not in `validation`"
        raise ConfigError(msg)
    entries = _written(folder, split, rows)
    return [
        entry | {"task": task, "capability": known.get(task, task)}
        for entry, task in zip(entries, rows, strict=True)
    ]


def _written(
    folder: Path, split: str, sources: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, str]]:
    """Write each source's rows to a file; return the configuration's entries for them."""
    entries = []
    for number, (source, rows) in enumerate(sources.items()):
        path = folder.resolve() / _INPUT / f"{split}-{number}.jsonl"
        write_rows(path, rows, f"{split}[{source!r}]")
        entries.append({"name": source, "path": str(path)})
    return entries


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    target: Any = content
    for section in sections:
        target = target.setdefault(section, {}) if isinstance(target, dict) else None
    if not isinstance(target, dict) or (not sections and last in (_POOL, "validation", "test")):
        msg = f"settings: {key!r} cannot be set here; it is an argument of select_rows"
        raise ConfigError(msg)
    target[last] = value


def _run(config: RunConfig, *, until: Stage) -> RunResult:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from flows.select_data import select_data

    return select_data(config, until=until)


def _collect(
    config: RunConfig, result: RunResult, sources: Mapping[str, Sequence[dict[str, Any]]]
) -> RowSelection:
    import pandas as pd

    from bids_core.influence import read_matrix
    from bids_core.selection import METHODS, Selection
    from bids_core.selection.files import read_selection
    from bids_core.selection.names import method_name
    from tasks.attribution import MATRIX
    from tasks.prepare import load_prepared
    from tasks.selection import SELECTION, row_sources

    if result.data is None or result.matrix is None or result.folder is None:
        msg = "the run ended before its selection"
        raise ArtifactError(msg)
    data = load_prepared(result.data)
    matrix = read_matrix(result.matrix.path() / MATRIX)
    name = method_name(config.selection.method)
    labels = replace(matrix.labels, sources=tuple(row_sources(data, matrix.matrix.row_ids or ())))
    read = read_selection(result.selections[name].path() / SELECTION, labels)
    if not isinstance(read, Selection):
        msg = f"{result.selections[name].key} has no utilities"
        raise ArtifactError(msg)
    entry = METHODS[config.selection.method]
    selection = replace(
        read,
        method=name,
        normalization=config.selection.normalization if entry.normalized else "none",
        labels=labels,
        seed=config.seed,
    )
    places = _places(data, sources)
    everything = [row for rows in sources.values() for row in rows]
    indices = [places[pick.row_id] for pick in selection]
    rejects = result.folder / "rejects.jsonl"
    return RowSelection(
        selection=selection,
        rows=[everything[place] for place in indices],
        indices=indices,
        rejects=pd.read_json(rejects, lines=True) if rejects.stat().st_size else pd.DataFrame(),
        matrix=replace(matrix, labels=labels),
        folder=result.folder,
        config=config,
    )


def _places(data: PreparedData, sources: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """Return each usable row's index in the pool: line n of a source's file is its n-th row."""
    lengths = [len(rows) for rows in sources.values()]
    first = dict(zip(sources, accumulate(lengths, initial=0), strict=False))
    frame = data.train.frame
    return {
        str(row_id): first[source] + int(location.rpartition(":")[2]) - 1
        for row_id, source, location in zip(
            frame["row_id"], frame["source"], frame["location"], strict=True
        )
    }
