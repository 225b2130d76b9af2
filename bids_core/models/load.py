"""Loading: base model, tokenizer, adapters; which device and dtype."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import file_digest
from bids_core.data.template_args import with_template_args
from bids_core.errors import ModelError
from bids_core.models.bundled import PREFIX, bundled_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import LoraConfig, ModelConfig

logger = logging.getLogger(__name__)

SPREAD: Final = "spread"
"""`model.device` of a model whose layers lie on several GPUs."""
_MODEL_FILES: Final = (
    "*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt",
    "*.py",  # what `trust_remote_code` runs
)  # fmt: skip
_FAST_BF16_FLAGS: Final = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # x86, x86, Arm


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model on the local disk.

    Args:
        folder: where its files are.
        digest: of its content (or its hub commit), for fingerprints.
    """

    folder: Path
    digest: str


def resolve_model(config: ModelConfig) -> ResolvedModel:
    """Find a model's files, fetching them if they are bundled or on the hub.

    Raises:
        ModelError: there is no such folder, bundle or hub model.
    """
    if config.path.startswith(PREFIX):
        folder = bundled_model(config.path.removeprefix(PREFIX))
        return ResolvedModel(folder, _folder_digest(folder))
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            msg = f"model.path: {folder} has no config.json, so it is not a transformers model"
            raise ModelError(msg)
        return ResolvedModel(folder, _folder_digest(folder))
    if folder.is_absolute() or config.path.startswith(".") or config.path.count("/") != 1:
        msg = (
            f"model.path: {config.path} is not a folder; give a model's folder, a hub name "
            "(org/name) or bundled:smollm2-135m-instruct"
        )
        raise ModelError(msg)
    return _from_hub(config)


def _from_hub(config: ModelConfig) -> ResolvedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                config.path, revision=config.revision, allow_patterns=list(_MODEL_FILES)
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        msg = (
            f"model.path: {config.path} is neither a folder nor reachable on the hub ({first}); "
            "check the name, or download it and give its folder"
        )
        raise ModelError(msg) from error
    return ResolvedModel(folder, f"hub:{config.path}@{folder.name}")


@lru_cache(maxsize=16)
def _folder_digest(folder: Path) -> str:
    import xxhash

    files = sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern)})
    digest = xxhash.xxh3_128()
    for path in files:
        digest.update(f"{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on: `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: the named device is not there.
    """
    import torch

    if name == SPREAD and not torch.cuda.is_available():
        msg = "model.device: spread needs GPUs, and there is none on this machine; use auto or cpu"
        raise ModelError(msg)
    if name in ("auto", SPREAD):
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"model.device: {name!r} is not a device; use auto, cpu, cuda, cuda:1 or mps"
        raise ModelError(msg) from error
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        msg = f"model.device: {name} is not available on this machine; use auto or cpu"
        raise ModelError(msg)
    return device


def choose_dtype(name: str, device: torch.device | None) -> torch.dtype:
    """Return the dtype of the frozen weights: `auto` takes bfloat16 where the device is fast at it.

    On a CPU that means AMX or AVX-512 BF16 (x86) or the Arm BF16 extension; float32 elsewhere.

    Args:
        name: `auto`, `bfloat16`, `float16` or `float32`.
        device: where the weights will lie; only `auto` depends on it.
    """
    import torch

    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name, torch.float32)
    device = device or choose_device()
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    fast = device.type == "cpu" and bool(_FAST_BF16_FLAGS & _cpu_flags())
    return torch.bfloat16 if fast else torch.float32


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():  # not Linux: nothing is known, so nothing is claimed
        return frozenset()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(("flags", "features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def load_tokenizer(
    config: ModelConfig, template_args: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer, with a padding token and (if given) the configured chat template.

    Args:
        config: of the model.
        template_args: variables of the chat template (`data.template_args`), for whoever renders
            conversations with it.
    """
    from transformers import AutoTokenizer

    folder = resolve_model(config).folder
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    if config.chat_template is not None:
        path = Path(config.chat_template).expanduser()
        if not path.is_file():
            msg = f"model.chat_template: {path} is not a file"
            raise ModelError(msg)
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return with_template_args(tokenizer, template_args or {})


def load_base(config: ModelConfig) -> PreTrainedModel:
    """Load the base model onto its device, frozen, in its dtype or in 4 bits.

    Raises:
        ModelError: it can not be loaded, or what it needs is not there.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    folder = resolve_model(config).folder
    placed = config.device == SPREAD or config.quantization != "none"
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            quantization_config=_quantization(config, dtype),
            device_map=("auto" if config.device == SPREAD else {"": device}) if placed else None,
        )
    except (OSError, ValueError) as error:
        msg = f"model.path: {config.path} can not be loaded: {str(error).splitlines()[0]}"
        raise ModelError(msg) from error
    model.requires_grad_(requires_grad=False)
    if not placed:
        torch.nn.Module.to(model, device)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    return model


def _quantization(config: ModelConfig, dtype: torch.dtype) -> Any:
    """Return QLoRA's settings (arXiv 2305.14314), None for weights that are not quantised.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if config.quantization == "none":
        return None
    if find_spec("bitsandbytes") is None:
        msg = (
            f"model.quantization: {config.quantization} needs bitsandbytes; run "
            "`pip install bitsandbytes`, or set it to none"
        )
        raise ModelError(msg)
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def add_lora(model: PreTrainedModel, lora: LoraConfig, *, seed: int) -> PeftModel:
    """Attach fresh adapters (float32), initialised from `seed`.

    Raises:
        ModelError: no layer has one of the target names.
    """
    import peft
    import torch

    targets: Any = lora.target_modules
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        msg = f"lora.target_modules: {str(error).splitlines()[0]}"
        raise ModelError(msg) from error


def load_adapter(config: ModelConfig, adapter: Path, *, trainable: bool) -> PeftModel:
    """Load the base model with a saved adapter."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_base(config), adapter, is_trainable=trainable)
