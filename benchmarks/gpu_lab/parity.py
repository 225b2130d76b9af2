"""Is a batched gradient equal to that of a batch of one? In float32, bfloat16 and 4 bits.

And is the Adam feature correct with the moments of an optimizer that ran on the device?
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gradients import make_examples, on_device, single_gradients, with_adapters
from transformers import AutoModelForCausalLM

from bids_core.config import ModelConfig
from bids_core.gradients import compute_features, make_projector, n_trainable, per_example_gradients
from bids_core.models import load_base
from bids_core.training import AdamMoments

from .device import Device, full_float32
from .models import SMALL_RANK, config_of

if TYPE_CHECKING:
    from bids_core.records import TokenizedExample

KINDS = ("float32", "bfloat16", "4-bit")
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "4-bit": 0.1}
"""Largest relative error that counts as rounding, as in the engine's own probe."""
_STEPS = 3
PROJECTIONS = ("rademacher", "sjlt", "srht")


def parity(device: Device, *, size: str, rows: int) -> list[dict[str, Any]]:
    """Return the engine's error against batches of one, for each kind of base weights."""
    found = []
    with tempfile.TemporaryDirectory() as folder, full_float32():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config_of(size)).save_pretrained(folder)
        for kind in KINDS:
            if kind == "4-bit" and find_spec("bitsandbytes") is None:
                found.append({"weights": kind, "note": "bitsandbytes is not installed"})
                continue
            model = _loaded(folder, kind, device)
            examples = make_examples(rows, model.config.vocab_size)
            found.append({"weights": kind, **_errors(model, examples, _TOLERANCE[kind])})
        found.append(_adam(_loaded(folder, "float32", device), examples))
        found += [_projected(device, kind) for kind in PROJECTIONS]
    return found


def _loaded(folder: str, kind: str, device: Device) -> torch.nn.Module:
    """Load the model as the pipeline does, with adapters whose gradients are not zero."""
    model = load_base(
        ModelConfig(
            path=folder, device=str(device.device),
            dtype="bfloat16" if kind != "float32" else "float32",
            quantization="4bit" if kind == "4-bit" else "none",
        )
    )  # fmt: skip
    tuned = with_adapters(model, SMALL_RANK).to(device.device)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return tuned


def _errors(
    model: torch.nn.Module, examples: list[TokenizedExample], tolerance: float
) -> dict[str, Any]:
    batched = per_example_gradients(model, on_device(model, examples))
    ones = torch.stack([single_gradients(model, example) for example in examples])
    errors = (batched - ones).norm(dim=1) / ones.norm(dim=1)
    cosines = torch.nn.functional.cosine_similarity(batched, ones, dim=1)
    return {
        "rows": len(examples), "relative_error": float(errors.max()),
        "least_cosine": float(cosines.min()), "ok": bool(errors.max() <= tolerance),
    }  # fmt: skip


def _adam(model: torch.nn.Module, examples: list[TokenizedExample]) -> dict[str, Any]:
    """Compare features from stored moments of a real AdamW with the definition, in float64."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([p for _, p in named], lr=1e-4, weight_decay=0.0)
    for step in range(_STEPS):
        model.zero_grad(set_to_none=True)
        model(**on_device(model, examples[step : step + 2]), use_cache=False).loss.backward()
        optimizer.step()
    model.zero_grad(set_to_none=True)
    first, second = (
        {n: optimizer.state[p][key].cpu() for n, p in named} for key in ("exp_avg", "exp_avg_sq")
    )
    moments = AdamMoments(first, second, (0.9, 0.999), 1e-8, _STEPS)
    with tempfile.TemporaryDirectory() as folder:
        moments.save(Path(folder))
        kept = AdamMoments.load(Path(folder))
    size = n_trainable(model)
    found = compute_features(
        model, examples, feature="adam", projector=make_projector("none", size, size, 0),
        moments=kept,
    )  # fmt: skip
    m_D, v_D = (part.double() for part in moments.flat([n for n, _ in named]))
    ones = torch.stack([single_gradients(model, example) for example in examples]).double().cpu()
    wanted = (0.9 * m_D + 0.1 * ones) / (0.999 * v_D + 0.001 * ones**2 + 1e-8).sqrt()
    errors = (found.values.double() - wanted).norm(dim=1) / wanted.norm(dim=1)
    return {
        "weights": "Adam features, float32", "rows": len(examples),
        "relative_error": float(errors.max()), "ok": bool(errors.max() <= _TOLERANCE["float32"]),
    }  # fmt: skip


def _projected(device: Device, kind: str) -> dict[str, Any]:
    """Compare a projection on the device with the same one on the CPU, piece by piece."""
    torch.manual_seed(0)
    rows, size, dim = 4, 200_000, 8192
    grads = torch.randn(rows, size)
    projector = make_projector(kind, size, dim, seed=0)  # type: ignore[arg-type]
    wanted = projector.project(grads)
    found = torch.zeros(rows, dim, device=device.device)
    step = 30_001  # not a multiple of a block
    for start in range(0, size, step):
        projector.add(found, grads[:, start : start + step].to(device.device), offset=start)
    error = float(((found.cpu() - wanted).norm(dim=1) / wanted.norm(dim=1)).max())
    return {
        "weights": f"{kind}, as on the CPU", "rows": rows, "relative_error": error,
        "ok": error <= _TOLERANCE["float32"],
    }  # fmt: skip
