from .adapters import add_lora
from .attention import fast_attention
from .bundled import bundled_model
from .load import (
    ResolvedModel,
    choose_device,
    choose_dtype,
    load_adapter,
    load_base,
    load_tokenizer,
    resolve_model,
)
from .loss import LabelRows, example_losses, output_head
from .memory import free_memory, is_out_of_memory, peak_memory, reset_peak_memory

__all__ = [
    "LabelRows",
    "ResolvedModel",
    "add_lora",
    "bundled_model",
    "choose_device",
    "choose_dtype",
    "example_losses",
    "fast_attention",
    "free_memory",
    "is_out_of_memory",
    "load_adapter",
    "load_base",
    "load_tokenizer",
    "output_head",
    "peak_memory",
    "reset_peak_memory",
    "resolve_model",
]
