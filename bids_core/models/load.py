"""Loading of base model, tokenizer and saved adapters; choice of device and dtype."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import file_digest, read_small_json, read_small_text
from bids_core.data.hub_probe import unanswered
from bids_core.data.hub_rate import HubTooSlow, watched_hub
from bids_core.data.template_args import with_template_args
from bids_core.data.templates import bound_chat_templates
from bids_core.errors import ModelError
from bids_core.formatting import brief
from bids_core.models.bundled import PREFIX, bundled_model
from bids_core.models.folder import check_folder, check_weights, in_one_line, require_all
from bids_core.models.panics import wrap_tokenizers
from bids_core.models.tokenizer_files import check_tokenizer_files
from bids_core.models.tokenizer_growth import check_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import ModelConfig

logger = logging.getLogger(__name__)

SPREAD: Final = "spread"
"""`model.device` of a model with its layers on several GPUs."""
_MODEL_FILES: Final = (
    "*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt",
    "*.py",  # code that `trust_remote_code` runs
)  # fmt: skip
_FAST_BF16_FLAGS: Final = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # x86, x86, Arm


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model on the local disk.

    Args:
        folder: where its files are.
        digest: of the files' content (or the hub commit), for fingerprints.
    """

    folder: Path
    digest: str


def resolve_model(config: ModelConfig) -> ResolvedModel:
    """Find a model's files, fetching them if they are bundled or on the hub.

    Raises:
        ModelError: there is no such folder, bundled model or hub model.
    """
    if config.path.startswith(PREFIX):
        folder = bundled_model(config.path.removeprefix(PREFIX))
        return ResolvedModel(folder, _folder_digest(folder))
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            msg = f"model.path: {folder} has no config.json, so it is not a transformers model"
            raise ModelError(msg)
        check_folder(folder, config)
        return ResolvedModel(folder, _folder_digest(folder))
    if folder.is_absolute() or config.path.startswith(".") or config.path.count("/") != 1:
        msg = (
            f"model.path: {config.path} is not a folder; give a model's folder, a hub name "
            "(org/name) or bundled:smollm2-135m-instruct"
        )
        raise ModelError(msg)
    return _from_hub(config)


def require_model(config: ModelConfig) -> None:
    """Check that a model's files, device and chat template exist, without loading anything.

    Raises:
        ModelError: one of them is missing.
    """
    resolve_model(config)
    if config.device != "auto":
        choose_device(config.device)
    if config.chat_template is not None:
        _read_template(config.chat_template)


def _from_hub(config: ModelConfig) -> ResolvedModel:
    from huggingface_hub import snapshot_download

    if (silence := unanswered("models", config.path)) is not None:
        raise ModelError(f"model.path: {config.path} cannot be fetched: {silence}")
    try:
        with watched_hub():
            folder = Path(
                snapshot_download(
                    config.path, revision=config.revision, allow_patterns=list(_MODEL_FILES)
                )
            )
    except HubTooSlow as error:
        raise ModelError(f"model.path: {config.path} cannot be fetched: {error}") from error
    except Exception as error:  # an unexpected answer from a hub causes errors of many kinds
        first = brief(str(error).strip().partition("\n")[0]) or type(error).__name__
        msg = (
            f"model.path: {config.path} is neither a folder nor reachable on the hub ({first}); "
            "check the name, or download it and give its folder"
        )
        raise ModelError(msg) from error
    check_folder(folder, config)
    return ResolvedModel(folder, f"hub:{config.path}@{folder.name}")


def model_digest(folder: Path) -> str:
    """Return a digest of a model's files in a folder; equal digests mean the same model."""
    return _folder_digest(folder)


@lru_cache(maxsize=16)
def _folder_digest(folder: Path) -> str:
    import xxhash

    files = sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern)})
    digest = xxhash.xxh3_128()
    for path in files:
        digest.update(f"{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on: `auto` prefers CUDA, then MPS, then the CPU.

    Raises:
        ModelError: the named device does not exist.
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
        msg = f"model.device: {name!r} is not a device; use auto, cpu, cuda, cuda:1, mps or spread"
        raise ModelError(msg) from error
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        msg = f"model.device: {name} is not available on this machine; use auto or cpu"
        raise ModelError(msg)
    return device


def choose_dtype(name: str, device: torch.device | None) -> torch.dtype:
    """Return the dtype of the frozen weights: `auto` is bfloat16 where the device is fast at it.

    On a CPU that means AMX or AVX-512 BF16 (x86) or the Arm BF16 extension; float32 elsewhere.

    Args:
        name: `auto`, `bfloat16`, `float16` or `float32`.
        device: where the weights will be; only `auto` depends on it.
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
    if not path.exists():  # not Linux: unknown, so assume it is slow
        return frozenset()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(("flags", "features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def read_config(config: ModelConfig) -> PretrainedConfig:
    """Read a model's configuration from its folder, without its weights.

    Raises:
        ModelError: there is no such model, or transformers cannot read its configuration.
    """
    from transformers import AutoConfig

    folder = resolve_model(config).folder
    with in_one_line(f"model.path: the configuration of {config.path} cannot be read"):
        found: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=config.trust_remote_code
        )
    return found


def load_tokenizer(
    config: ModelConfig, template_args: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer, with a padding token and (if given) the configured chat template.

    Args:
        config: of the model.
        template_args: variables of the chat template (`data.template_args`), for code that renders
            conversations with it.
    """
    from transformers import AutoTokenizer

    bound_chat_templates()  # for code that renders with it: lm-eval, vLLM, generation
    wrap_tokenizers()
    folder = resolve_model(config).folder
    check_tokenizer_files(folder, shown=config.path)
    with in_one_line(f"model.path: the tokenizer.json of {config.path} cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=config.trust_remote_code
        )
    check_tokenizer(tokenizer, shown=config.path)
    if config.chat_template is not None:
        tokenizer.chat_template = _read_template(config.chat_template)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            msg = (
                f"model.path: the tokenizer of {config.path} has neither a padding token nor "
                "an end-of-text token; set pad_token in its tokenizer_config.json"
            )
            raise ModelError(msg)
        tokenizer.pad_token = tokenizer.eos_token
    return with_template_args(tokenizer, template_args or {})


def _read_template(name: str) -> str:
    path = Path(name).expanduser()
    if not path.is_file():
        msg = f"model.chat_template: {path} is not a file"
        raise ModelError(msg)
    try:
        return read_small_text(path)
    except (OSError, ValueError) as error:
        msg = f"model.chat_template: {path} cannot be read as text: {error}"
        raise ModelError(msg) from error


def load_skeleton(config: ModelConfig) -> PreTrainedModel:
    """Build a model without its weights, to inspect its layers.

    Raises:
        ModelError: transformers cannot build it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    settings = read_config(config)
    with in_one_line(f"model.path: {config.path} cannot be built"), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            settings, trust_remote_code=config.trust_remote_code
        )
    model.requires_grad_(requires_grad=False)
    return model.eval()  # type: ignore[no-untyped-call,no-any-return]


def load_base(config: ModelConfig) -> PreTrainedModel:
    """Load the base model onto its device, frozen, in its dtype or quantised to 4 bits.

    Raises:
        ModelError: it cannot be loaded, or something it needs is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    folder = resolve_model(config).folder
    placed = config.device == SPREAD or config.quantization != "none"
    check_weights(folder, load_skeleton(config), config)
    with in_one_line(f"model.path: {config.path} cannot be loaded"):
        found: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=dtype,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            quantization_config=_quantization(config, dtype),
            device_map=("auto" if config.device == SPREAD else {"": device}) if placed else None,
        )
    model: PreTrainedModel = found[0]
    require_all(found[1]["missing_keys"], config)
    model.requires_grad_(requires_grad=False)
    if not placed:
        torch.nn.Module.to(model, device)
    if config.quantization != "none":
        _keep_differentiable(model)
        _require_to_run(model, config)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    return model


def _keep_differentiable(model: PreTrainedModel) -> None:
    """Switch off bitsandbytes' weight packing for CPU inference (AVX-512 BF16).

    bitsandbytes repacks a layer permanently when it runs in evaluation mode on an input without a
    gradient. From then on the layer's output has no gradient either, so everything that flows
    through it would be missing.
    """
    packs = "support_avx512bf16_for_cpu"
    for module in model.modules():
        if hasattr(module, packs):
            setattr(module, packs, False)


def _require_to_run(model: PreTrainedModel, config: ModelConfig) -> None:
    """Check that a quantised model runs: some (Mamba) multiply by weights outside their layers.

    Raises:
        ModelError: it does not run.
    """
    import torch

    two = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    try:
        with torch.no_grad():
            model(input_ids=two)
    except RuntimeError as error:
        kind = str(getattr(model.config, "model_type", "this"))
        msg = (
            f"model.quantization: a {kind} model does not run in {config.quantization} "
            f"({str(error).splitlines()[0]}); set it to none"
        )
        raise ModelError(msg) from error


def _quantization(config: ModelConfig, dtype: torch.dtype) -> Any:
    """Return QLoRA's settings (arXiv 2305.14314), None if the weights are not quantised.

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


def load_adapter(config: ModelConfig, adapter: Path, *, trainable: bool) -> PeftModel:
    """Load the base model with a saved adapter.

    Raises:
        ModelError: the adapter is missing or damaged.
    """
    from peft import PeftModel

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / name).is_file():  # peft would look on the hub, or for pickles
            msg = f"the adapter {adapter} has no {name}; train it again"
            raise ModelError(msg)
    base = load_base(config)
    with in_one_line(f"the adapter {adapter} cannot be loaded"):
        settings = read_small_json(adapter / "adapter_config.json")
        from bids_core.models.adapters import check_patterns  # torch

        check_patterns(dict(settings), base, key=str(adapter))
        return PeftModel.from_pretrained(base, adapter, is_trainable=trainable)
