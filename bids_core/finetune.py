"""Fine-tuning on a selected subset."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bids_core.progress import silent
from bids_core.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peft import PeftModel

    from bids_core.config import FinetuneConfig
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


def finetune(
    model: PeftModel,
    examples: Sequence[TokenizedExample],
    settings: FinetuneConfig,
    *,
    pad_token_id: int,
    seed: int,
    folder: Path,
    scratch: Path,
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Train fresh adapters on the selected examples and save them in `folder`.

    Args:
        model: base model with fresh adapters; trained in place.
        examples: the selected subset.
        settings: epochs, learning rate and so on.
        pad_token_id: token that fills short rows.
        seed: of the order and dropout.
        folder: gets the adapter (safetensors).
        scratch: for temporary files.
        on_progress: called with (examples seen, examples in all epochs).

    Returns:
        Summary: losses, learning rates and epochs of the steps, tokens, seconds, rows.
    """
    log = train(
        model,
        examples,
        settings,
        pad_token_id=pad_token_id,
        seed=seed,
        scratch=scratch,
        on_progress=on_progress,
    )
    model.save_pretrained(str(folder), safe_serialization=True)
    return {**asdict(log), "n_rows": len(examples)}
