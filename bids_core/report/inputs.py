"""The inputs of a report: plain data, so that any pipeline can provide them.

Shapes: N training rows, M validation instances.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from bids_core.comparison import Comparison
    from bids_core.influence.matrix import MatrixLike


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything that the report shows.

    Args:
        name: name of the run.
        created: when it ended, ISO 8601.
        model: the base model, as the configuration names it; blank for a matrix alone.
        main_method: the method whose picks the report explains, a key of `selections`; blank if
            there are none.
        config: the whole configuration, as JSON types.
        data: `PreparedData.summary`.
        rejects: one mapping per rejected row, with the fields of `bids_core.records.Reject`.
        warmup: what `bids_core.training.warmup.warmup` returned; None if no warmup ran.
        gradients: one mapping per shard: split, checkpoint, rows, eps_dominated_share (None without
            Adam), mean_loss, compute_seconds, and optionally norm_quantiles (quantile -> gradient
            norm).
        attribution: [N, M] influence; one on disk is read in blocks.
        row_ids: [N] ids of the training rows.
        sources: [N] data source of each training row.
        validation_ids: [M] ids of the validation instances.
        tasks: [M] their tasks.
        capabilities: [M] their capabilities.
        selections: method -> frame with columns rank (from 1), row_id, source, utility,
            winning_validation, winning_task (the last three missing if a method has none).
        conversations: row id -> messages as JSON, of training rows and validation instances; a row
            that is missing is shown by its id alone.
        scores: scores of all methods with a column `method` (`zero_shot` is the base model); None
            if nothing was evaluated.
        comparison: of the same methods, by their answers to every test row; present with `scores`.
        timings: step -> {seconds, cached}, in the order they ran.
        versions: package -> version.
        tables: the applicable tables of `bids_core.diagnostics.analysis.Analysis` by name, and
            frames of `bids_core.diagnostics.stability`: checkpoint_agreement, without_checkpoint,
            without_task, without_instance; near_duplicates has a column `set`.
        breakdown: what `bids_core.diagnostics.breakdown.breakdown` returned; None if the data has
            no column to break down.
        validation: what `bids validate` found (its validation.json); None if it did not run.
        row_columns: further columns of the training rows with few distinct values, [N] texts each.
        screen: what happened to rows without gradients: `words` and figures; None if there are
            none.
        answers: answers to test rows: method, task, row_id, question, reference, answer, score;
            None if nothing was evaluated.
        files: method -> address of its selected rows as JSON Lines, relative to the page.
        folder: where the page will be. Absolute paths in the configuration and in messages are
            shown relative to it, or by their last part.
        texts_folder: folder beside the page with the full texts that do not fit on it; None if
            there is none.
    """

    name: str
    created: str
    model: str
    main_method: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    attribution: MatrixLike
    row_ids: Sequence[str]
    sources: Sequence[str]
    validation_ids: Sequence[str]
    tasks: Sequence[str]
    capabilities: Sequence[str]
    selections: Mapping[str, pd.DataFrame]
    rejects: Sequence[Mapping[str, Any]] = ()
    warmup: Mapping[str, Any] | None = None
    gradients: Sequence[Mapping[str, Any]] = ()
    conversations: Mapping[str, str] = field(default_factory=dict)
    scores: pd.DataFrame | None = None
    comparison: Comparison | None = None
    timings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    breakdown: pd.DataFrame | None = None
    validation: Mapping[str, Any] | None = None
    row_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    screen: Mapping[str, Any] | None = None
    answers: pd.DataFrame | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    texts_folder: str | None = None
