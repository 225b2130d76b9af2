"""`runs/<name>/selected/`: the picks of all methods, ready to load, with a card."""

from __future__ import annotations

import logging
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pandas as pd

from bids_core.artifacts.provenance import versions
from bids_core.data.export import as_table, extra_columns, json_line, record
from bids_core.publishing.dataset_card import dataset_card
from bids_core.publishing.send import log_to_mlflow, log_to_wandb, push_to_hub
from tasks.selection import read_selection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from bids_core.data import PreparedData

logger = logging.getLogger(__name__)


def write_selected(
    config: RunConfig, data: PreparedData, selections: Mapping[str, Handle], folder: Path
) -> None:
    """Write each method's picks as JSONL and Parquet, the main method's as a `datasets` folder too.

    The files include the rows' further columns (licence, language, the rejected answer).

    Args:
        config: the run.
        data: the prepared data.
        selections: of each method.
        folder: the run folder; `selected/` is replaced as a whole, or the old one stays.
    """
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    frame = data.train.frame.set_index("row_id")
    aside = folder / f".selected-{uuid.uuid4().hex}"
    aside.mkdir()
    picks = {method: read_selection(handle) for method, handle in selections.items()}
    for method, chosen in picks.items():
        rows = _rows(chosen, frame)
        lines = map(json_line, rows)
        (aside / f"{method}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        made = Dataset.from_list(as_table(rows))
        made.to_parquet(str(aside / f"{method}.parquet"))
        if method == config.selection.main:
            made.save_to_disk(str(aside / "dataset"))
    card = dataset_card(
        config,
        sources={name: _counts(chosen["source"]) for name, chosen in picks.items()},
        pool=_counts(data.train.frame["source"]),
        tokens={
            name: int(frame.loc[chosen["row_id"], "n_tokens"].sum())
            for name, chosen in picks.items()
        },
        versions=versions(),
    )
    (aside / "README.md").write_text(card, encoding="utf-8")
    target = folder / "selected"
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def publish(config: RunConfig, selections: Mapping[str, Handle], folder: Path) -> None:
    """Send the selected data to the destinations in the configuration's `output` section.

    Raises:
        PublishError: it could not be sent; the run folder is complete.
    """
    output, selected = config.output, folder / "selected"
    digest = selections[config.selection.main].fingerprint
    if output.push_to_hub is not None:
        message = f"{config.name}: rows selected by {config.selection.main}"
        url = push_to_hub(selected, output.push_to_hub, private=output.private, message=message)
        logger.info("the selected rows are at %s", url)
    if output.mlflow_experiment is not None:
        run = log_to_mlflow(selected, output.mlflow_experiment, name=config.name, digest=digest)
        logger.info("the selected rows are in MLflow's run %s", run)
    if output.wandb_project is not None:
        name = log_to_wandb(selected, output.wandb_project, name=config.name, digest=digest)
        logger.info("the selected rows are in the W&B artifact %s", name)


def _rows(chosen: pd.DataFrame, frame: pd.DataFrame) -> list[dict[str, Any]]:
    columns = ("messages", "tools", "extra")
    stored = {
        row_id: dict(zip(columns, values, strict=True))
        for row_id, *values in zip(frame.index, *(frame[name] for name in columns), strict=True)
    }
    return [
        {**record(stored[pick["row_id"]]), **pick}
        for pick in (
            {str(name): value for name, value in row.items()}
            for row in chosen[["row_id", "source", "rank"]].to_dict(orient="records")
        )
    ]


def with_extra(chosen: pd.DataFrame, data: PreparedData) -> pd.DataFrame:
    """Return a ranking with the rows' further columns, each of a single type."""
    extra = dict(zip(data.train.frame["row_id"], data.train.frame["extra"], strict=True))
    rows = [{"messages": [], **extra_columns(extra.get(row_id))} for row_id in chosen["row_id"]]
    names = [n for n in dict.fromkeys(n for row in rows for n in row) if n not in chosen.columns]
    table = as_table(rows)
    columns = {name: [row[name] for row in table] for name in names if name != "messages"}
    return pd.concat([chosen, pd.DataFrame(columns, index=chosen.index)], axis=1)


def _counts(names: pd.Series[str]) -> dict[str, int]:
    return {str(name): int(count) for name, count in names.value_counts().items()}
