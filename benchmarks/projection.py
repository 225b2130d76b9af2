"""Error and cost of the random projections on real gradients.

Adam features of training examples and plain gradients of validation examples are taken at a
checkpoint of a short LoRA warmup on reasoning-gym tasks, kept unprojected, and compared with their
projections: the root mean square error of the cosines over all (train, validation) pairs and seeds,
and the mean square error of the inner products of unit vectors divided by the theoretical value for
independent random signs (1.00 is Rademacher's variance; lower is better).

    python benchmarks/projection.py --model smollm2 --json out.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gradients import load_model, model_folder
from reasoning_gym import create_dataset
from transformers import AutoTokenizer

from bids_core.data import collate
from bids_core.gradients import (
    Features,
    adam_update,
    make_projector,
    open_store,
    per_example_gradients,
    write_shard,
)
from bids_core.records import IGNORED_LABEL, TokenizedExample

TASKS = ["chain_sum", "gcd", "number_sorting", "letter_counting", "base_conversion", "syllogism"]
KINDS = ["rademacher", "sjlt", "srht"]


def real_examples(tokenizer, count: int, seed: int) -> list[TokenizedExample]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Return questions and answers of six tasks, in turn, as the chat model sees them."""
    sources = [create_dataset(task, size=count, seed=seed) for task in TASKS]
    examples = []
    for index in range(count):
        row = sources[index % len(TASKS)][index]
        turn = [{"role": "user", "content": row["question"]}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(f"{row['answer']}<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = np.array(start + answer, dtype=np.int32)
        labels = np.where(np.arange(len(ids)) < len(start), IGNORED_LABEL, ids).astype(np.int32)
        examples.append(TokenizedExample(f"{seed}-{index}", ids, labels))
    return examples


def warm_up(model, examples, steps: int):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Take a few AdamW steps, so that neither the adapters nor the moments are zero."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
    for step in range(steps):
        batch = collate(examples[4 * step % len(examples) :][:4], pad_token_id=0)
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    flat = [
        torch.cat([optimizer.state[p][k].reshape(-1) for p in parameters])
        for k in ("exp_avg", "exp_avg_sq")
    ]
    return flat[0], flat[1], steps


def raw_gradients(model, examples) -> torch.Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
    parts = [examples[i : i + 8] for i in range(0, len(examples), 8)]
    return torch.cat([per_example_gradients(model, collate(p, pad_token_id=0)) for p in parts])


def real_features(name: str, args: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit Adam features [N, D] and unit plain gradients [M, D]."""
    model = load_model(name, torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(name))
    train = real_examples(tokenizer, args.train, 1)
    m_D, v_D, step = warm_up(model, train, args.steps)
    grads_ND = raw_gradients(model, train)
    train_ND = adam_update(grads_ND, m_D, v_D, betas=(0.9, 0.999), eps=1e-8, step=step)
    validation_MD = raw_gradients(model, real_examples(tokenizer, args.validation, 2))
    unit = torch.nn.functional.normalize
    return unit(train_ND, dim=1), unit(validation_MD, dim=1)


def rademacher_variance(x_ND: torch.Tensor, y_MD: torch.Tensor) -> torch.Tensor:
    """Return P times the variance of each inner product under independent random signs."""
    return 1 + (x_ND @ y_MD.T) ** 2 - 2 * (x_ND**2 @ (y_MD**2).T)


def projections(kind: str, rows: torch.Tensor, dim: int, n_seeds: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Yield the rows' projections, seed by seed.

    Rademacher rows are independent, so one large projection is cut into several small ones.
    """
    size = rows.shape[1]
    if kind == "rademacher":
        largest = _rademacher(rows)
        for start in range(0, largest.shape[1] - dim + 1, dim):
            yield largest[:, start : start + dim] * (largest.shape[1] / dim) ** 0.5
        return
    for seed in range(n_seeds):
        yield make_projector(kind, size, dim, seed).project(rows)  # type: ignore[arg-type]


_cache: dict[int, torch.Tensor] = {}


def _rademacher(rows: torch.Tensor, dim: int = 8192) -> torch.Tensor:
    if dim not in _cache:
        _cache[dim] = make_projector("rademacher", rows.shape[1], dim, 0).project(rows)
    return _cache[dim]


def errors(kind: str, x_ND: torch.Tensor, y_MD: torch.Tensor, dim: int, seeds: int) -> dict:  # type: ignore[type-arg]
    """Return the errors of one kind at one dimension."""
    rows, true = torch.cat([x_ND, y_MD]), x_ND @ y_MD.T
    expected = rademacher_variance(x_ND, y_MD) / dim
    cosine, ratio = [], []
    for projected in projections(kind, rows, dim, seeds):
        a, b = projected[: len(x_ND)], projected[len(x_ND) :]
        ratio.append(float((((a @ b.T) - true) ** 2 / expected).mean()))
        unit = torch.nn.functional.normalize
        cosine.append(float(((unit(a, dim=1) @ unit(b, dim=1).T - true) ** 2).mean()))
    deviation = float(np.std(ratio) / max(1, len(ratio)) ** 0.5)
    return {
        "kind": kind, "dim": dim, "seeds": len(ratio), "cosine_rmse": float(np.mean(cosine)) ** 0.5,
        "variance_ratio": float(np.mean(ratio)), "variance_ratio_se": deviation,
    }  # fmt: skip


def storage_errors(x_ND: torch.Tensor, y_MD: torch.Tensor, dim: int) -> list[dict]:  # type: ignore[type-arg]
    """Return the error in the cosines from storing the projected unit rows in a smaller dtype."""
    projector = make_projector("sjlt", x_ND.shape[1], dim, 0)
    sides = [projector.project(rows) for rows in (x_ND, y_MD)]
    unit = [torch.nn.functional.normalize(side, dim=1).numpy() for side in sides]
    found = []
    for storage in ("float32", "float16", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            read = []
            for name, side in zip("tv", sides, strict=True):
                ids = [f"{name}{i}" for i in range(len(side))]
                norms = side.norm(dim=1)
                features = Features(side, norms, torch.zeros(len(side)), ids, [], None, 0, 0.0)
                write_shard(Path(folder) / name, features, storage=storage)
                read.append(open_store([Path(folder) / name]).rows(0, len(side)))
        error = read[0] @ read[1].T - unit[0] @ unit[1].T
        found.append({"storage": storage, "dim": dim, "rmse": float(np.sqrt((error**2).mean())),
                      "largest": float(np.abs(error).max())})  # fmt: skip
    return found


def milliseconds(kind: str, rows: torch.Tensor, dim: int) -> float:
    """Return processor milliseconds per example, without the projector's setup."""
    batch = rows[:8].clone()
    if kind == "rademacher":  # a slice of D is enough: the cost is proportional
        batch = batch[:, : batch.shape[1] // 32].contiguous()
    projector = make_projector(kind, batch.shape[1], dim, 0)  # type: ignore[arg-type]
    if kind != "rademacher":
        projector.project(batch)
    started = time.process_time()
    projector.project(batch)
    seconds = time.process_time() - started
    return seconds * (32 if kind == "rademacher" else 1) / len(batch) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2", help="smollm2, llama or a folder")
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--validation", type=int, default=24)
    parser.add_argument("--steps", type=int, default=12, help="warmup steps")
    parser.add_argument("--seeds", type=int, default=16, help="of sjlt and srht")
    parser.add_argument("--dims", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    x_ND, y_MD = real_features(args.model, args)
    true = x_ND @ y_MD.T
    heavy = [float((v**4).sum(1).mean()) for v in (x_ND, y_MD)]
    print(f"D = {x_ND.shape[1]:,}; {len(x_ND)} Adam features x {len(y_MD)} gradients")
    print(f"cosines: mean {true.mean():.4f}, standard deviation {true.std():.4f}")
    print(f"sum of fourth powers of unit features: train {heavy[0]:.1e}, validation {heavy[1]:.1e}")
    print(
        f"{'kind':12s}{'P':>6s}{'cosine rmse':>13s}{'variance/rademacher':>21s}{'ms/example':>12s}"
    )
    results = []
    for dim in args.dims:
        for kind in args.kinds:
            row = errors(kind, x_ND, y_MD, dim, args.seeds)
            row["ms_per_example"] = milliseconds(kind, torch.cat([x_ND, y_MD]), dim)
            results.append(row)
            spread = f"{row['variance_ratio']:.3f} +- {row['variance_ratio_se']:.3f}"
            print(f"{kind:12s}{dim:6d}{row['cosine_rmse']:13.5f}{spread:>21s}"
                  f"{row['ms_per_example']:12.1f}", flush=True)  # fmt: skip
    print(f"{'storage':12s}{'P':>6s}{'cosine rmse':>13s}{'largest error':>15s}")
    for row in storage_errors(x_ND, y_MD, max(args.dims)):
        results.append(row)
        print(f"{row['storage']:12s}{row['dim']:6d}{row['rmse']:13.1e}{row['largest']:15.1e}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
