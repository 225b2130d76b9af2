"""Features per second of the gradient engine, against a plain batched backward pass and others.

The baseline (ratio 1.00) is Hugging Face's own batched forward and backward pass over the same
batches, which computes the gradient of the batch and nothing per example. Every round runs every
contender once, in turn; the figures are medians over the rounds.

    python benchmarks/gradients.py --model llama --model smollm2 --json out.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bids_core.data import collate, token_budget_batches
from bids_core.gradients import adam_update, compute_features, make_projector, n_trainable
from bids_core.models import LabelRows, bundled_model, example_losses, output_head
from bids_core.records import IGNORED_LABEL, TokenizedExample
from bids_core.training import AdamMoments

LESS_PROJECT_INTERVAL = 16  # examples collected by the LESS code before projecting them
Contender = Callable[[], None]


def load_model(name: str, dtype: torch.dtype) -> torch.nn.Module:
    """Return a base model with LoRA on q, k, v, o: the random Llama, SmolLM2, or a folder."""
    if name == "llama":
        config = LlamaConfig(
            vocab_size=32000, hidden_size=384, intermediate_size=1024, num_hidden_layers=8,
            num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True,
        )  # fmt: skip
        torch.manual_seed(0)
        model, rank = LlamaForCausalLM(config), 8
    else:
        model, rank = AutoModelForCausalLM.from_pretrained(model_folder(name)), 16
    return with_adapters(model.to(dtype), rank)


def with_adapters(model: torch.nn.Module, rank: int) -> torch.nn.Module:
    """Return a base model with LoRA on q, k, v, o."""
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=targets)
    ).eval()


def model_folder(name: str) -> str:
    """Return the folder of a model; the bundled one is converted on first use."""
    return str(bundled_model("smollm2-135m-instruct")) if name == "smollm2" else name


def make_examples(
    count: int, vocabulary: int, prompt_share: float = 0.5, length: int | None = None
) -> list[TokenizedExample]:
    """Return examples of one length, or of instruction-like ones: median 120 tokens, 20 to 512."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(120), 0.6, count), 20, 512).astype(int)
    lengths = lengths if length is None else np.full(count, length)
    examples = []
    for index, length in enumerate(lengths):
        ids = rng.integers(10, vocabulary, length).astype(np.int32)
        labels = ids.copy()
        labels[: int(length * prompt_share)] = IGNORED_LABEL
        examples.append(TokenizedExample(str(index), ids, labels))
    return examples


def make_moments(model: torch.nn.Module) -> AdamMoments:
    """Return made-up Adam moments: speed does not depend on them."""
    torch.manual_seed(0)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    first = {n: 1e-4 * torch.randn(p.shape, device=p.device) for n, p in named}
    second = {n: torch.empty(p.shape, device=p.device).uniform_(1e-12, 1e-8) for n, p in named}
    return AdamMoments(first, second, (0.9, 0.999), 1e-8, 10)


def stepped_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return an AdamW with state, for peers that read it there; no weight changes."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = 1e-4 * torch.randn_like(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


def contenders(model: torch.nn.Module, examples: list[TokenizedExample], budget: int,
               dim: int, chosen: list[str]) -> dict[str, Contender]:  # fmt: skip
    """Return the contenders, the baseline first."""
    moments, size = make_moments(model), n_trainable(model)
    plan = token_budget_batches([e.n_tokens for e in examples], budget)
    batches = [on_device(model, [examples[i] for i in rows]) for rows in plan]
    sjlt, srht, rademacher = (
        make_projector(kind, size, dim, 0) for kind in ("sjlt", "srht", "rademacher")
    )

    def ours(projector: object) -> Contender:
        return lambda: compute_features(
            model, examples, feature="adam", projector=projector, moments=moments,  # type: ignore[arg-type]
            tokens_per_batch=budget,
        ) and None  # fmt: skip

    every: dict[str, Contender] = {
        "hf batched forward+backward": lambda: plain_pass(model, batches),
        "same, logits where labels are": lambda: label_pass(model, batches),
        "bids adam + sjlt": ours(sjlt),
        "bids adam + srht": ours(srht),
        "bids adam + rademacher": ours(rademacher),
        "LESS loop adam + rademacher": lambda: less_loop(model, examples, moments, rademacher),
        "batch of one, no projection": lambda: single_loop(model, examples),
    }
    every |= peer_contenders(model, examples, plan, batches, dim)
    return {n: run for n, run in every.items() if not chosen or any(c in n for c in chosen)}


def peer_contenders(model: torch.nn.Module, examples: list[TokenizedExample],
                    plan: list[list[int]], batches: list[dict[str, torch.Tensor]],
                    dim: int) -> dict[str, Contender]:  # fmt: skip
    """Return the other libraries that are installed; only dattri-llm has the Adam update."""
    import peers

    optimizer = stepped_optimizer(model) if find_spec("dattri_llm") else None
    known: dict[str, tuple[str, Contender]] = {
        "dattri-llm adam, no projection": (
            "dattri_llm",
            lambda: peers.adam_features(model, batches, optimizer) and None,
        ),
        "bergson plain, 16 x 16 a layer": (
            "bergson",
            lambda: peers.bergson_gradients(model, examples, plan) and None,
        ),
        "dattri plain + its projection": (
            "dattri",
            lambda: peers.dattri_gradients(model, batches, dim) and None,
        ),
        "traker plain + rademacher": (
            "trak",
            lambda: peers.traker_gradients(model, batches, dim) and None,
        ),
    }
    return {name: run for name, (module, run) in known.items() if find_spec(module) is not None}


def on_device(model: torch.nn.Module, examples: list[TokenizedExample]) -> dict[str, torch.Tensor]:
    """Return a batch on the model's device."""
    device = next(model.parameters()).device
    return {k: v.to(device) for k, v in collate(examples, pad_token_id=0).items()}


def plain_pass(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]) -> None:
    for batch in batches:
        model.zero_grad(set_to_none=True)
        model(**batch, use_cache=False).loss.backward()
    model.zero_grad(set_to_none=True)


def label_pass(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]) -> None:
    for batch in batches:
        model.zero_grad(set_to_none=True)
        rows = LabelRows.of(batch["labels"])
        example_losses(model, batch, rows, head=output_head(model)).sum().backward()
    model.zero_grad(set_to_none=True)


def single_gradients(model: torch.nn.Module, example: TokenizedExample) -> torch.Tensor:
    model.zero_grad(set_to_none=True)
    model(**on_device(model, [example]), use_cache=False).loss.backward()
    return torch.cat([p.grad.reshape(-1).float() for p in model.parameters() if p.grad is not None])


def single_loop(model: torch.nn.Module, examples: list[TokenizedExample]) -> None:
    for example in examples:
        single_gradients(model, example)
    model.zero_grad(set_to_none=True)


def less_loop(model, examples, moments, projector) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Run like the public LESS code: batches of one, flat gradients, a dense projection of 16."""
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    m_D, v_D = moments.flat(names)
    collected = []
    for index, example in enumerate(examples):
        grads = single_gradients(model, example)[None]
        collected.append(
            adam_update(grads, m_D, v_D, betas=moments.betas, eps=moments.eps, step=moments.step)
        )
        if len(collected) == LESS_PROJECT_INTERVAL or index + 1 == len(examples):
            projector.project(torch.cat(collected))
            collected = []
    model.zero_grad(set_to_none=True)


def measure(
    runs: dict[str, Contender], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of every round of every contender, run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(clock() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="llama, smollm2 or a folder")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--prompt-share", type=float, default=0.5, help="tokens without a label")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", action="append", default=[], help="part of a contender's name")
    parser.add_argument("--cpu-time", action="store_true", help="count processor seconds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    results = []
    for name in args.model or ["llama", "smollm2"]:
        model = load_model(name, getattr(torch, args.dtype))
        examples = make_examples(args.examples, model.config.vocab_size, args.prompt_share)
        runs = contenders(model, examples, args.tokens_per_batch, args.dim, args.only)
        measure({k: v for k, v in runs.items() if "bids" in k and "rademacher" not in k}, 1)
        results += show(name, model, examples, measure(runs, args.rounds, clock))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def show(name, model, examples, seconds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Print a model's table and return its rows."""
    tokens = sum(e.n_tokens for e in examples)
    print(f"\n{name}: D = {n_trainable(model):,}, {len(examples)} examples, {tokens} tokens")
    print(f"{'':34s}{'examples/s':>12s}{'tokens/s':>10s}{'ratio':>8s}")
    base = statistics.median(next(iter(seconds.values())))
    rows = []
    for contender, times in seconds.items():
        middle = statistics.median(times)
        rows.append({"model": name, "contender": contender, "seconds": times,
                     "examples_per_s": len(examples) / middle, "ratio": base / middle})  # fmt: skip
        print(f"{contender:34s}{len(examples) / middle:12.2f}{tokens / middle:10.0f}"
              f"{base / middle:8.2f}")  # fmt: skip
        sys.stdout.flush()
    return rows


if __name__ == "__main__":
    main()
