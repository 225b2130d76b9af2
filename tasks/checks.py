"""Checks of a run before anything is computed: models, adapters, packing, evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.data import doubts
from bids_core.models.adapters import add_lora, reaches_all_layers, unreached_layers
from bids_core.models.fit import check_fit
from bids_core.models.load import load_skeleton, load_tokenizer, read_config
from tasks.evaluation_checks import check_evaluation
from tasks.external_warmup import check_checkpoints
from tasks.identity import training_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData


def check_run(
    config: RunConfig,
    data: PreparedData,
    target: PreparedData | None = None,
    *,
    evaluates: bool,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[str]:
    """Check that the models can do what a run needs.

    Args:
        config: the run.
        data: tokenized for the model whose gradients are computed.
        target: tokenized for the model that is fine-tuned, if it is another one.
        evaluates: whether the run includes the evaluation.
        tokenizer: the one that made `data`; loaded if not given.

    Returns:
        Warnings, one line each: what works but may be a mistake.

    Raises:
        BidsError: something will not work; one line.
    """
    template_args = config.data.template_args
    tokenizer = tokenizer or load_tokenizer(config.model, template_args)
    remarks = _check_data(config, data, tokenizer) + check_checkpoints(config)
    remarks += doubts(data)
    if not config.warmup.checkpoints:
        remarks += _check_adapters(config)
    if not config.finetune.enabled:
        return remarks
    tuning = training_config(config)
    if target is not None:
        tokenizer = load_tokenizer(tuning.model, template_args)
        remarks += _check_data(tuning, target, tokenizer)
    if config.finetune.kind == "lora" and (tuning.model, tuning.lora) != (
        config.model,
        config.lora,
    ):
        remarks += _check_adapters(tuning)
    if config.finetune.packing:
        from bids_core.training.packing import require_packable

        require_packable(load_skeleton(tuning.model), ())
    if evaluates:
        check_evaluation(tuning, data if target is None else target, tokenizer)
    return remarks


def _check_data(
    config: RunConfig, data: PreparedData, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    return check_fit(read_config(config.model), tokenizer, data)


def _check_adapters(config: RunConfig) -> list[str]:
    skeleton = load_skeleton(config.model)
    if reaches_all_layers(skeleton, config.lora):
        return []
    adapted = add_lora(skeleton, config.lora, seed=config.seed)
    unreached = unreached_layers(adapted)
    return [] if unreached is None else [unreached]
