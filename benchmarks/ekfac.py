"""Our EK-FAC against kronfluence's, on the LoRA factors of a small random Llama.

Both fit the empirical Fisher matrix on the pool and score it against a few validation rows, with
the damping of Grosse et al. (a tenth of the mean eigenvalue). Needs `kronfluence` (the `bench`
extra). Prints the seconds for fitting and scoring, and how well the two matrices agree.

    python benchmarks/ekfac.py --json out.json
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from gradients import make_examples
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from peers import Rows, example_mean_losses
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from transformers import LlamaConfig, LlamaForCausalLM

from bids_core.gradients import Ekfac, compute_features, make_projector, n_trainable
from bids_core.records import IGNORED_LABEL, TokenizedExample

BATCH = 16


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4,
    )  # fmt: skip
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    model = get_peft_model(LlamaForCausalLM(config), lora).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # with zero, the other factor would have no gradient
            torch.nn.init.normal_(parameter, std=0.05)
    return model


class MeanLoss(Task):
    """Sum over the rows of the mean completion loss, for training and validation rows alike."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._layers = [
            name for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module.weight.requires_grad
        ]  # fmt: skip

    def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> torch.Tensor:  # noqa: ARG002
        return example_mean_losses(model, batch)

    def compute_measurement(self, batch: Any, model: Any) -> torch.Tensor:
        return example_mean_losses(model, batch)

    def get_influence_tracked_modules(self) -> list[str]:
        return self._layers

    def get_attention_mask(self, batch: Any) -> torch.Tensor:
        mask: torch.Tensor = batch["attention_mask"]
        return mask


def with_kronfluence(model: torch.nn.Module, pool: Any, validation: Any) -> tuple[Any, float]:
    task = MeanLoss(model)
    wrapped = prepare_model(copy.deepcopy(model), task)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("ekfac", wrapped, task, cpu=True, output_dir=folder,
                            disable_tqdm=True)  # fmt: skip
        analyzer.fit_all_factors(
            "factors", Rows(pool), per_device_batch_size=BATCH,
            factor_args=FactorArguments(strategy="ekfac", use_empirical_fisher=True),
        )  # fmt: skip
        analyzer.compute_pairwise_scores(
            "scores", factors_name="factors", query_dataset=Rows(validation),
            train_dataset=Rows(pool), per_device_query_batch_size=BATCH,
            per_device_train_batch_size=BATCH, score_args=ScoreArguments(damping_factor=None),
        )  # fmt: skip
        scores = analyzer.load_pairwise_scores("scores")["all_modules"].T
    return scores, time.perf_counter() - started


def with_ours(model: torch.nn.Module, pool: Any, validation: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    curvature = Ekfac.fit(model, pool)
    projector = make_projector("none", n_trainable(model), 0, 0)
    train, held_out = (
        compute_features(
            model, rows, feature="ekfac", projector=projector, curvature=curvature
        ).values
        for rows in (pool, validation)
    )
    return train @ held_out.T, time.perf_counter() - started


def cut(examples: list[TokenizedExample], length: int) -> list[TokenizedExample]:
    short = [TokenizedExample(e.row_id, e.input_ids[:length], e.labels[:length]) for e in examples]
    return [example for example in short if (example.labels[1:] != IGNORED_LABEL).any()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = make_model()
    examples = cut(make_examples(args.examples, 512), 64)
    pool, validation = examples[:-16], examples[-16:]
    theirs, their_seconds = with_kronfluence(model, pool, validation)
    ours, our_seconds = with_ours(model, pool, validation)
    ranks = [spearmanr(ours[:, j], theirs[:, j]).statistic for j in range(len(validation))]
    result = {
        "pool": len(pool), "validation": len(validation), "parameters": n_trainable(model),
        "kronfluence_seconds": their_seconds, "bids_seconds": our_seconds,
        "kronfluence_over_bids": their_seconds / our_seconds,
        "pearson": float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]),
        "mean_spearman": sum(ranks) / len(ranks),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
