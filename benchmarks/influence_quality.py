"""How well each estimator predicts real retrainings: the linear datamodeling score (LDS).

A small Llama, briefly trained on sequence tasks, is fine-tuned with LoRA on many random halves of a
pool; each time the loss of every validation instance is measured. The score of an estimator is the
Spearman correlation, over the subsets, between minus that loss and the summed attributions of the
subset's examples, averaged over validation instances (TRAK, arXiv 2303.14186, definition 2.3), with
a 95% bootstrap interval over subsets. `ceiling` is the score of a second set of retrainings of the
same subsets with other seeds: the noise that no estimator can beat.

    python benchmarks/influence_quality.py --subsets 64 --json out.json
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import rankdata
from transformers import LlamaConfig, LlamaForCausalLM

from bids_core.attribution import influence
from bids_core.data import collate
from bids_core.gradients import (
    Ekfac,
    FisherMetric,
    compute_features,
    make_projector,
    n_trainable,
)
from bids_core.models import LabelRows, example_losses, output_head
from bids_core.records import IGNORED_LABEL, TokenizedExample
from bids_core.training import AdamMoments

SYMBOLS, LENGTH, SEPARATOR = 20, 6, 21
TASKS = ("copy", "reverse", "sort", "shift", "double", "swap")


def make_examples(count: int, seed: int) -> list[TokenizedExample]:
    """Return sequences with each task's answers; the task's token comes first."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        task = TASKS[index % len(TASKS)]
        source = rng.integers(0, SYMBOLS, LENGTH)
        result = {
            "copy": source, "reverse": source[::-1], "sort": np.sort(source),
            "shift": (source + 1) % SYMBOLS, "double": 2 * source % SYMBOLS,
            "swap": source[[1, 0, 3, 2, 5, 4]],
        }[task]  # fmt: skip
        prompt = [SEPARATOR + 1 + TASKS.index(task), *source, SEPARATOR]
        ids = np.array([*prompt, *result], dtype=np.int32)
        labels = np.where(np.arange(len(ids)) < len(prompt), IGNORED_LABEL, ids).astype(np.int32)
        examples.append(TokenizedExample(f"{seed}-{index}", ids, labels))
    return examples


def base_model(seed: int, steps: int) -> LlamaForCausalLM:
    """Return a small Llama after briefly training all its weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=32, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=32,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    examples = make_examples(64 * steps, seed + 1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        batch = collate(examples[64 * step : 64 * (step + 1)], pad_token_id=0)
        optimizer.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
    return model


def adapted(base: LlamaForCausalLM, rank: int) -> torch.nn.Module:
    """Return a copy of the model with fresh LoRA; the same initial values every time."""
    torch.manual_seed(0)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return get_peft_model(copy.deepcopy(base), lora)


def fine_tune(model, examples, *, epochs, lr, seed, on_epoch=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Train the adapters with AdamW and a linear schedule; batches of 16 in random order."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    per_epoch = -(-len(examples) // 16)
    total = epochs * per_epoch
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(examples), generator=generator).tolist()
        rows = order[16 * (step % per_epoch) :][:16]
        optimizer.param_groups[0]["lr"] = lr * (1 - step / total)
        batch = collate([examples[row] for row in rows], pad_token_id=0)
        optimizer.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
        if on_epoch is not None and (step + 1) % per_epoch == 0:
            rates = [lr * (1 - s / total) for s in range(step + 1 - per_epoch, step + 1)]
            on_epoch(optimizer, float(np.mean(rates)), step + 1)
    return model


@torch.no_grad()
def losses(model: torch.nn.Module, examples: list[TokenizedExample]) -> np.ndarray:  # type: ignore[type-arg]
    batch = collate(examples, pad_token_id=0)
    rows = LabelRows.of(batch["labels"])
    return example_losses(model.eval(), batch, rows, head=output_head(model)).numpy()


def estimates(base, pool, validation, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return each estimator's [N, M] matrix, from the checkpoints of one warmup on the pool."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}  # type: ignore[type-arg]
    others: dict[str, list[np.ndarray]] = {}  # type: ignore[type-arg]
    weights: list[float] = []
    model = adapted(base, args.rank)
    projector = make_projector("none", n_trainable(model), 1, 0)
    sketch = make_projector("sjlt", n_trainable(model), args.dim, 0)

    def take(feature, examples, *, to=projector, **settings):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        return compute_features(
            model, examples, feature=feature, projector=to, tokens_per_batch=4096, **settings
        ).values.numpy()

    def checkpoint(optimizer, rate, step):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        state = {n: optimizer.state[p] for n, p in named}
        moments = AdamMoments(
            {n: s["exp_avg"].clone() for n, s in state.items()},
            {n: s["exp_avg_sq"].clone() for n, s in state.items()},
            (0.9, 0.999), 1e-8, step,
        )  # fmt: skip
        weights.append(rate)
        plain = take("sgd", validation)
        for mode in ("less_code", "paper"):
            adam = take("adam", pool, moments=moments, adam_mode=mode)
            found.setdefault(f"adam {mode}", []).append((adam, plain))
        train = take("sgd", pool)
        found.setdefault("sgd (TracIn)", []).append((train, plain))
        found.setdefault("sign", []).append((take("sign", pool), plain))
        small = {n: take("sgd", e, to=sketch) for n, e in (("t", pool), ("v", validation))}
        metric = FisherMetric.of_rows(
            [small["t"]], dim=args.dim, n_rows=len(pool), damping=args.damping
        )
        whitened = {n: metric.whiten(rows, row_ids=["?"] * len(rows)) for n, rows in small.items()}
        found.setdefault(f"fisher, sjlt {args.dim}", []).append((whitened["t"], whitened["v"]))
        curvature = Ekfac.fit(model, pool, damping=args.damping, tokens_per_batch=4096)
        both = [take("ekfac", e, curvature=curvature) for e in (pool, validation)]
        found.setdefault("ekfac", []).append((both[0], both[1]))
        for kind in ("sjlt", "srht", "rademacher"):
            to = make_projector(kind, n_trainable(model), args.dim, 0)
            pair = take("adam", pool, to=to, moments=moments), take("sgd", validation, to=to)
            found.setdefault(f"adam less_code, {kind} {args.dim}", []).append(pair)
        if find_spec("dattri_llm") is not None:
            import peers

            for kind in ("less", "tracin", "ekfac"):
                matrix = peers.score(
                    kind, model, pool, validation, optimizer=optimizer, damping=args.damping
                )
                others.setdefault(f"dattri-llm {kind}", []).append(matrix)
        model.train()

    fine_tune(model, pool, epochs=args.epochs, lr=args.lr, seed=0, on_epoch=checkpoint)
    share = np.array(weights) / np.sum(weights)
    matrices = {
        name: influence(np.stack([t for t, _ in pairs]), np.stack([v for _, v in pairs]), share)
        for name, pairs in found.items()
    }
    for name in ("sgd (TracIn)", "ekfac"):
        products = [t @ v.T for t, v in found[name]]
        matrices[f"{name}, inner products"] = np.tensordot(share, np.stack(products), 1)
    for name, parts in others.items():
        matrices[name] = np.tensordot(share, np.stack(parts), 1)
    same = np.array([[a.input_ids[0] == b.input_ids[0] for b in validation] for a in pool])
    rng = np.random.default_rng(0)
    matrices["same task (0 or 1)"] = same + 1e-9 * rng.standard_normal(same.shape)
    matrices["random"] = rng.standard_normal(same.shape)
    return matrices


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return the rank correlation of each column, [M]."""
    a, b = (rankdata(v, axis=0) for v in (one, other))
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(scale == 0, 1, scale)


def interval(predicted: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:  # type: ignore[type-arg]
    """Return the 95% bootstrap interval over subsets."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(outcome), len(outcome)) for _ in range(1000)]
    scores = [spearman(predicted[d], outcome[d]).mean() for d in draws]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def retrain(base, pool, validation, members, args, seeds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the negative validation losses of each subset, [subsets, M], averaged over seeds."""
    out = []
    for rows in members:
        subset = [pool[row] for row in np.flatnonzero(rows)]
        runs = [
            losses(fine_tune(adapted(base, args.rank), subset, epochs=args.epochs, lr=args.lr,
                             seed=seed), validation)
            for seed in seeds
        ]  # fmt: skip
        out.append(-np.mean(runs, axis=0))
    return np.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=192)
    parser.add_argument("--validation", type=int, default=36)
    parser.add_argument("--subsets", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="retrainings of each subset")
    parser.add_argument("--base-steps", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--damping", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    started = time.perf_counter()
    base = base_model(0, args.base_steps)
    pool, validation = make_examples(args.pool, 1), make_examples(args.validation, 2)
    rng = np.random.default_rng(0)
    members = np.zeros((args.subsets, args.pool), dtype=bool)
    for row in members:
        row[rng.permutation(args.pool)[: args.pool // 2]] = True
    matrices = estimates(base, pool, validation, args)
    outcome = retrain(base, pool, validation, members, args, range(args.seeds))
    again = retrain(base, pool, validation, members, args, range(100, 100 + args.seeds))
    print(f"D = {n_trainable(adapted(base, args.rank)):,}; pool {args.pool}, validation "
          f"{args.validation}, {args.subsets} subsets x {args.seeds} seeds; loss of the base "
          f"{losses(base, validation).mean():.3f}, after fine-tuning {-outcome.mean():.3f}; "
          f"{time.perf_counter() - started:.0f} s")  # fmt: skip
    print(f"{'estimator':32s}{'LDS':>8s}{'95% interval':>20s}")
    results = []
    predictions = {name: members @ matrix for name, matrix in matrices.items()}
    for name, predicted in {"ceiling (other seeds)": again, **predictions}.items():
        low, high = interval(predicted, outcome)
        score = float(spearman(predicted, outcome).mean())
        results.append({"estimator": name, "lds": score, "low": low, "high": high})
        print(f"{name:32s}{score:8.3f}{f'{low:.3f} .. {high:.3f}':>20s}")
    if args.json:
        args.json.write_text(json.dumps({"args": vars(args) | {"json": None}, "rows": results}))


if __name__ == "__main__":
    main()
