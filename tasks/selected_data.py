"""`runs/<name>/selected/`: the picks of all methods, ready to load, with a card."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pandas as pd

from bids_core.artifacts.provenance import versions
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
    """Write every method's picks as JSONL and Parquet, the main one's as a `datasets` folder too.

    Args:
        config: the run.
        data: the prepared data.
        selections: of each method.
        folder: the run folder; gets `selected/` whole, or keeps the old one.
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
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (aside / f"{method}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        made = Dataset.from_list(rows)
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
    """Send the selected data where the configuration's `output` section says.

    Raises:
        PublishError: it could not be sent; the run folder is whole.
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
        logger.info("the selected rows are W&B's artifact %s", name)


def _rows(chosen: pd.DataFrame, frame: pd.DataFrame) -> list[dict[str, Any]]:
    messages = dict(zip(frame.index, frame["messages"], strict=True))
    return [
        {"messages": json.loads(messages[pick["row_id"]]), **pick}
        for pick in (
            {str(name): value for name, value in row.items()}
            for row in chosen[["row_id", "source", "rank"]].to_dict(orient="records")
        )
    ]


def _counts(names: pd.Series[str]) -> dict[str, int]:
    return {str(name): int(count) for name, count in names.value_counts().items()}
