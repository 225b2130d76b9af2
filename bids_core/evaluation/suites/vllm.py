"""vLLM as the suites' backend, if installed, through lm-eval's own class."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from bids_core.errors import ConfigError
from bids_core.models.load import resolve_model
from bids_core.training.finetune import ADAPTER, saved_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bids_core.config import ModelConfig


def require_vllm() -> None:
    """Check that vLLM is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("vllm") is None:
        msg = "evaluation.backend: vllm is not installed; pip install vllm, or use backend hf"
        raise ConfigError(msg)


def vllm_model(config: ModelConfig, tuned: Path | None, model_args: Mapping[str, Any]) -> Any:
    """Return lm-eval's vLLM model for a base model, with a fine-tuned adapter if there is one.

    Args:
        config: the base model.
        tuned: folder of a fine-tuning; None for the base model alone.
        model_args: additional arguments of lm-eval's class.

    Raises:
        ConfigError: vLLM is not installed.
    """
    require_vllm()
    from lm_eval.models.vllm_causallms import VLLM

    base = str(resolve_model(config).folder)
    options: dict[str, Any] = {
        "pretrained": base,
        "dtype": config.dtype,
        "trust_remote_code": config.trust_remote_code,
    }
    if tuned is not None:
        folder = saved_in(tuned)
        if folder.name == ADAPTER:
            settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            options |= {"lora_local_path": str(folder), "max_lora_rank": int(settings["r"])}
        else:
            options |= {"pretrained": str(folder), "tokenizer": base}
    return VLLM(**{**options, **model_args})
