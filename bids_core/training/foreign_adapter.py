"""The adapter in another tool's checkpoint: does it fit our model, and what are its settings?

Everything here reads configuration files and headers, never weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import read_small_json
from bids_core.config import LoraConfig
from bids_core.errors import ConfigError, ModelError
from bids_core.models.adapters import add_lora, check_patterns
from bids_core.models.folder import in_one_line
from bids_core.models.load import load_skeleton, load_tokenizer, model_digest, resolve_model
from bids_core.models.tokenizer_files import check_tokenizer_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.config import ModelConfig, WarmupConfig

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
_TOKENIZER: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
_EXTRAS: Final = (
    "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save",
    "layers_to_transform", "trainable_token_indices",
)  # fmt: skip
"""Settings of peft for which `lora` has no field; a fresh adapter has peft's defaults."""


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read the settings of a checkpoint's adapter.

    Raises:
        ConfigError: it has no LoRA adapter in safetensors.
    """
    where = f"warmup.checkpoints: {folder}"
    if not folder.is_dir():
        raise ConfigError(
            f"{where} is not a folder; give a checkpoint-... folder written by the training"
        )
    if not (folder / WEIGHTS).is_file():
        if (folder / "adapter_model.bin").is_file():
            msg = f"{where} has its adapter as a pickle; save it again with save_safetensors: true"
        elif any(folder.glob("pytorch_model_fsdp*")):
            msg = (
                f"{where} has its weights in FSDP's shards; set fsdp_state_dict_type: "
                "FULL_STATE_DICT for the training, so that the adapter is saved whole"
            )
        elif any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*")):
            msg = (
                f"{where} has full weights and no adapter; gradients are computed for "
                "adapters, so train with LoRA (use_peft, finetuning_type: lora, adapter: "
                "lora)"
            )
        else:
            msg = f"{where} has no {WEIGHTS}; give a checkpoint-... folder written by the training"
        raise ConfigError(msg)
    try:
        content: dict[str, Any] = read_small_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        msg = (
            f"{where} has no readable {CONFIG} ({error}); copy it from where the adapter was saved"
        )
        raise ConfigError(msg) from error
    if str(content.get("peft_type")).upper() != "LORA":
        msg = f"{where} has a {content.get('peft_type')} adapter; only LoRA adapters are supported"
        raise ConfigError(msg)
    return content


def require_same_base(
    adapter: Mapping[str, Any], model: ModelConfig, section: WarmupConfig, folder: Path
) -> None:
    """Check that an adapter was trained on our base model.

    Names are compared by their last part, local folders by content.

    Raises:
        ConfigError: it is, or may be, another model.
    """
    named = str(adapter.get("base_model_name_or_path") or "")
    where = f"warmup.checkpoints: {folder}"
    if section.base_model is not None:
        if named != section.base_model:
            msg = f"warmup.base_model: {section.base_model}, but {folder} names {named!r}"
            raise ConfigError(msg)
        return
    ours = resolve_model(model)
    there = Path(named).expanduser()
    if not named or named == model.path or there.resolve() == ours.folder.resolve():
        return
    if (there / "config.json").is_file():
        if model_digest(there) == model_digest(ours.folder):
            return
    elif _last(named) in (_last(model.path), _last(str(ours.folder))):
        return
    msg = (
        f"{where} was trained on {named}, and model.path is {model.path}; set model.path to that "
        f"model, or, if it is the same under another name, warmup.base_model: {named}"
    )
    raise ConfigError(msg)


def require_same_tokens(model: ModelConfig, folder: Path) -> list[str]:
    """Check that the tokenizer saved with a checkpoint has the same ids as ours.

    Returns:
        Other differences, which may be intended, one line each.

    Raises:
        ConfigError: a token has another id in the checkpoint.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER):
        return []
    from transformers import AutoTokenizer

    try:
        check_tokenizer_files(folder, shown=str(folder), key="warmup.checkpoints")
        with in_one_line(f"warmup.checkpoints: the tokenizer in {folder} cannot be read"):
            theirs = AutoTokenizer.from_pretrained(folder)
    except ModelError as error:
        return [str(error)]
    ours = load_tokenizer(model)
    here, there = ours.get_vocab(), theirs.get_vocab()
    differing = [token for token, number in here.items() if there.get(token, number) != number]
    missing = [token for token in here if token not in there]
    if differing or len(missing) > len(here) // 2:
        token = (differing or missing)[0]
        msg = (
            f"warmup.checkpoints: {folder} was trained with another tokenizer: token {token!r} has "
            f"id {here[token]} in {model.path} and {there.get(token, 'none')} there; use the model "
            "that the checkpoints were trained from"
        )
        raise ConfigError(msg)
    if theirs.chat_template and theirs.chat_template != ours.chat_template:
        return [
            f"warmup.checkpoints: {folder} was trained with another chat template than "
            f"{model.path} has; rows are rendered with the model's (model.chat_template sets "
            "another)"
        ]
    return []


def adapter_shapes(model: ModelConfig, folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the trainable parameters of the base model with a checkpoint's adapter, in order.

    Raises:
        ConfigError: the adapter does not fit our base model.
    """
    import peft
    from safetensors import safe_open

    settings = peft.PeftConfig.from_pretrained(str(folder))
    settings.inference_mode = False
    skeleton = load_skeleton(model)
    settings.base_model_name_or_path = skeleton.name_or_path  # compared with theirs before
    check_patterns(settings.to_dict(), skeleton, key=f"warmup.checkpoints: {folder}: adapter")
    try:
        adapted = peft.get_peft_model(skeleton, settings)
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        msg = f"warmup.checkpoints: the adapter of {folder} does not fit {model.path}: {first}"
        raise ConfigError(msg) from error
    expected = {
        name: tuple(value.shape)
        for name, value in peft.get_peft_model_state_dict(
            adapted, save_embedding_layers=False
        ).items()
    }
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            msg = (
                f"warmup.checkpoints: {name} is {_size(found.get(name))} in {folder} and "
                f"{_size(expected.get(name))} in {model.path} with its adapter; the base "
                "model differs, or the training added tokens; set model.path to the model "
                "that was trained"
            )
            raise ConfigError(msg)
    return {
        name: tuple(parameter.shape)
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }


def agreed_lora(lora: LoraConfig, model: ModelConfig, folder: Path) -> LoraConfig:
    """Return the adapter settings of a checkpoint; the user's own settings must agree.

    Raises:
        ConfigError: they do not agree.
    """
    adapter = read_adapter_config(folder)
    targets: Any = adapter.get("target_modules") or ()
    theirs: dict[str, Any] = {
        "r": int(adapter["r"]),
        "alpha": int(adapter["lora_alpha"]),
        "dropout": float(adapter.get("lora_dropout") or 0.0),
        "target_modules": targets if isinstance(targets, str) else tuple(sorted(targets)),
    }
    said = lora.model_fields_set
    for name in ("r", "alpha"):
        if name in said and getattr(lora, name) != theirs[name]:
            raise ConfigError(_contradiction(name, getattr(lora, name), theirs[name], folder))
    if "target_modules" in said and not _same_targets(lora, theirs["target_modules"], model):
        words = lora.target_modules
        words = words if isinstance(words, str) else ", ".join(words)
        found = theirs["target_modules"]
        found = found if isinstance(found, str) else ", ".join(found)
        raise ConfigError(_contradiction("target_modules", words, found, folder))
    if "dropout" in said:
        theirs["dropout"] = lora.dropout  # off for gradients, so free to differ in fine-tuning
    return LoraConfig(**theirs)


def adapter_extras(adapter: Mapping[str, Any]) -> list[str]:
    """Return the names of an adapter's settings that `lora` does not have."""
    return [name for name in _EXTRAS if adapter.get(name)]


def _same_targets(lora: LoraConfig, theirs: str | tuple[str, ...], model: ModelConfig) -> bool:
    ours = lora.target_modules
    if isinstance(ours, str) == isinstance(theirs, str):
        return ours == theirs if isinstance(ours, str) else set(ours) == set(theirs)
    reached = [
        {
            name
            for name, module in add_lora(load_skeleton(model), settings, seed=0).named_modules()
            if hasattr(module, "lora_A")
        }
        for settings in (lora, lora.model_copy(update={"target_modules": theirs}))
    ]
    return reached[0] == reached[1]


def _contradiction(name: str, ours: object, theirs: object, folder: Path) -> str:
    return (
        f"lora.{name}: {ours}, but {folder} was trained with {theirs} ({CONFIG}); leave it "
        "out to use the checkpoint's (finetune.lora sets the fine-tuning's adapters)"
    )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _size(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))
