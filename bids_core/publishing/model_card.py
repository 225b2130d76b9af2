"""The card of a fine-tuned model: where it comes from, what it was trained on, how it scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from bids_core.publishing.card import card, table

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
        method: display name of the method that selected the data.
        summary: of the fine-tuning: n_rows, tokens, seconds, losses.
        sources: rows trained on, by source.
        scores: of this model: task, metric, n, score, stderr; None before the evaluation.
    """
    base = config.model.path
    adapter = config.finetune.kind == "lora" and config.finetune.save == "adapter"
    parts = [
        f"# {config.name}: {base} trained on {summary['n_rows']:,} rows selected by {method}",
        f"Base model: `{base}`"
        + (f" (revision `{config.model.revision}`)" if config.model.revision else "")
        + f". {'An adapter (LoRA)' if adapter else 'A whole model'}, in safetensors.",
        "The licences of the base model and the data apply; training changes neither.",
        "## Data",
        table(["source", "rows"], [[name, f"{n:,}"] for name, n in sources.items()]),
        "The rows were tokenized with the base model's chat template; the loss covers only "
        "the assistant's turns.",
        "## Training",
        _settings(config, summary),
        "## Scores",
        _scores(scores),
        "## Configuration",
        f"```yaml\n{yaml.safe_dump(_shown(config), sort_keys=False)}```",
    ]
    return card(_header(config, scores, adapter=adapter), parts)


def _header(config: RunConfig, scores: pd.DataFrame | None, *, adapter: bool) -> ModelCardData:
    base = config.model.path
    on_hub = base.count("/") == 1 and not base.startswith(("/", "."))
    results = _results(scores)
    return ModelCardData(
        base_model=base if on_hub else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["bids", "data-selection", *(["lora"] if config.finetune.kind == "lora" else [])],
        model_name=config.name if results else None,
        eval_results=results or None,
    )


def _shown(config: RunConfig) -> dict[str, Any]:
    """Return the configuration without the settings that concern only the machine it ran on."""
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
    return table(["what", "value"], rows)


def _scores(scores: pd.DataFrame | None) -> str:
    if scores is None or not len(scores):
        return "Not evaluated when this card was written."
    rows = [
        [r["task"], r["metric"], r["n"], _number(r["score"]), _number(r["stderr"]),
         _number(r["answer_loss"])]
        for r in scores.to_dict(orient="records")
    ]  # fmt: skip
    return table(["task", "metric", "rows", "score", "standard error", "answer loss"], rows)


def _results(scores: pd.DataFrame | None) -> list[EvalResult]:
    if scores is None:
        return []
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=str(r["task"]),
            dataset_name=str(r["task"]),
            metric_type=str(r["metric"]),
            metric_value=round(float(r["score"]), 4),
        )
        for r in scores.to_dict(orient="records")
        if r["score"] == r["score"]
    ]


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
