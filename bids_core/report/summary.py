"""The first screen: what was selected, whether it helps, and what to do next."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison import judge
from bids_core.comparison.results import RANDOM
from bids_core.formatting import percent
from bids_core.report.verdict import command_markup
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from bids_core.report.inputs import ReportInputs
    from bids_core.report.paths import PathShown

_TRAIN: Final = """\
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

rows = load_dataset("json", data_files={file}, split="train")
trainer = SFTTrainer(
    model={model},
    train_dataset=rows.select_columns(["messages"]),
    args=SFTConfig(output_dir="tuned"),
)
trainer.train()"""


_PACKAGED: Final = {"bundled:smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""The hub's name of a model that BIDS takes from a package."""


def summary_block(inputs: ReportInputs, paths: PathShown) -> dict[str, Any]:
    """Return how many rows were selected, from which pool, for which tasks, and the next steps."""
    picks = inputs.selections.get(inputs.main_method, ())
    others = [method_label(m) for m in inputs.selections if m != inputs.main_method]
    pool = int((inputs.screen or {}).get("pool_rows", len(inputs.row_ids)))
    return {
        "method": method_label(inputs.main_method) if inputs.selections else "",
        "picked": len(picks),
        "pool": pool,
        "share": percent(len(picks) / pool),
        "sources": len({source for source in inputs.sources if source}),
        "instances": len(inputs.validation_ids),
        "tasks": len(set(inputs.tasks)),
        "capabilities": len(set(inputs.capabilities)),
        "others": others,
        "checkpoints": len({shard["checkpoint"] for shard in inputs.gradients})
        or len((inputs.warmup or {}).get("checkpoint_weights", ())),
        "next": _next(inputs, paths),
    }


def _next(inputs: ReportInputs, paths: PathShown) -> dict[str, Any] | None:
    """Return files and commands; None for a page without files beside it."""
    file = inputs.files.get(inputs.main_method)
    if file is None:
        return None
    rest = [
        {"label": method_label(method), "file": other}
        for method, other in inputs.files.items()
        if method != inputs.main_method
    ]
    picks = inputs.selections[inputs.main_method]
    command = None if inputs.comparison is None else judge(inputs.comparison).command
    compared = "bids" if inputs.main_method == RANDOM else inputs.main_method
    return {
        "file": file,
        "rest": rest,
        "train": _TRAIN.format(file=json.dumps(file), model=json.dumps(_trained(inputs, paths))),
        "explain": command_markup(f"bids explain . {shlex.quote(str(picks['row_id'].iloc[0]))}"),
        "compare": command_markup(
            command
            or f"bids compare CONFIG --methods {compared},{RANDOM} "
            f"--budgets {len(picks)} --seeds 0,1,2"
        ),
    }


def _trained(inputs: ReportInputs, paths: PathShown) -> str:
    """Return the model that the run fine-tunes, under the name that other tools use."""
    other = (inputs.config.get("finetune") or {}).get("model") or {}
    path = str(other.get("path") or inputs.model)
    return _PACKAGED.get(path, paths.text(path))
