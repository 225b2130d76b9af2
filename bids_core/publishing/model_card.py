"""The card of a fine-tuned model: where it comes from, what it was trained on, how it scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from bids_core.config import RunConfig


def model_card(
    config: RunConfig,
    *,
    method: str,
    summary: Mapping[str, Any],
    sources: Mapping[str, int],
    scores: pd.DataFrame | None = None,
) -> str:
    """Return a model card in Markdown, with the hub's YAML header.

    Args:
        config: of the run; its `model` is the one that was trained.
        method: that selected the data, for people.
        summary: of the fine-tuning: n_rows, tokens, seconds, losses.
        sources: rows trained on, by source.
        scores: of this model: task, metric, n, score, stderr; None before the evaluation.
    """
    base = config.model.path
    adapter = config.finetune.kind == "lora" and config.finetune.save == "adapter"
    header: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["bids", "data-selection", *(["lora"] if config.finetune.kind == "lora" else [])],
    }
    if base.count("/") == 1 and not base.startswith(("/", ".")):
        header["base_model"] = base
    if scores is not None and len(scores):
        header["model-index"] = [_index(config, scores)]
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {config.name}: {base} trained on {summary['n_rows']:,} rows selected by {method}",
        f"Base model: `{base}`"
        + (f" (revision `{config.model.revision}`)" if config.model.revision else "")
        + f". {'An adapter (LoRA)' if adapter else 'A whole model'}, in safetensors.",
        "The licence is that of the base model and of the data; neither is changed by training.",
        "## Data",
        _table(["source", "rows"], [[name, f"{n:,}"] for name, n in sources.items()]),
        "The rows were tokenized with the base model's chat template; the loss was taken over the "
        "assistants' turns alone.",
        "## Training",
        _settings(config, summary),
        "## Scores",
        _scores(scores),
        "## Configuration",
        f"```yaml\n{yaml.safe_dump(_shown(config), sort_keys=False)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _shown(config: RunConfig) -> dict[str, Any]:
    """Return the configuration without what is only about the machine it ran on."""
    return config.model_dump(mode="json", exclude={"store", "output_dir", "execution"})


def _settings(config: RunConfig, summary: Mapping[str, Any]) -> str:
    section, losses = config.finetune, summary["losses"]
    rows: list[list[Any]] = [
        ["kind", section.kind if section.kind == "full" else
         f"LoRA, rank {config.lora.r}, alpha {config.lora.alpha}"],
        ["epochs", section.epochs],
        ["learning rate", f"{section.learning_rate:g}, linear to zero"],
        ["examples a step", section.batch_size],
        ["tokens", f"{summary['tokens']:,}"],
        ["loss of the first and last step", f"{losses[0]:.3f}, {losses[-1]:.3f}"],
    ]  # fmt: skip
    return _table(["what", "value"], rows)


def _scores(scores: pd.DataFrame | None) -> str:
    if scores is None or not len(scores):
        return "Not evaluated when this card was written."
    rows = [
        [r["task"], r["metric"], r["n"], _number(r["score"]), _number(r["stderr"]),
         _number(r["answer_loss"])]
        for r in scores.to_dict(orient="records")
    ]  # fmt: skip
    return _table(["task", "metric", "rows", "score", "standard error", "answer loss"], rows)


def _index(config: RunConfig, scores: pd.DataFrame) -> dict[str, Any]:
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": str(r["task"]), "type": str(r["task"])},
            "metrics": [{"type": str(r["metric"]), "value": round(float(r["score"]), 4)}],
        }
        for r in scores.to_dict(orient="records")
        if r["score"] == r["score"]
    ]
    return {"name": config.name, "results": results}


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def _table(columns: list[str], rows: list[list[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(v) for v in line) + " |" for line in lines)
