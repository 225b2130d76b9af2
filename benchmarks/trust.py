"""Does the quick form of `bids validate` judge an estimator as real retraining does?

On the model, tasks and estimators of `influence_quality.py`: the rank correlation of each estimator
with single optimizer steps from the first warmup checkpoint (what `bids validate` measures in a
minute), beside its linear datamodeling score over retraining on random halves of the pool (what
`bids validate --full` measures). The last lines say how similarly the two rank the estimators, and
what `bids_core.diagnostics.fit_datamodel` finds in the retraining runs.

    python benchmarks/trust.py --subsets 32 --seeds 2 --json out.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import influence_quality as quality
import numpy as np
from scipy.stats import spearmanr

from bids_core.diagnostics import (
    Estimate,
    Outcomes,
    StepSettings,
    fit_datamodel,
    mean_known,
    measure_steps,
    resampled_spearman,
    spearman,
)
from bids_core.gradients import make_projector, n_trainable
from bids_core.training import AdamMoments


def first_checkpoint(base, pool, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the model, its moments and learning rate after the first epoch of the warmup."""
    model, found = quality.adapted(base, args.rank), {}

    def keep(optimizer, rate, step):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if found:
            return
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        state = {n: optimizer.state[p] for n, p in named}
        found["moments"] = AdamMoments(
            {n: s["exp_avg"].clone() for n, s in state.items()},
            {n: s["exp_avg_sq"].clone() for n, s in state.items()},
            (0.9, 0.999), 1e-8, step,
        )  # fmt: skip
        found["rate"] = rate
        found["weights"] = {n: p.detach().clone() for n, p in named}

    quality.fine_tune(model, pool, epochs=args.epochs, lr=args.lr, seed=0, on_epoch=keep)
    for name, parameter in model.named_parameters():
        if name in found["weights"]:
            parameter.data.copy_(found["weights"][name])
    return model, found["moments"], found["rate"]


def scores(predicted, outcome):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the mean rank correlation over columns, with its interval."""
    drawn = resampled_spearman({"": predicted}, outcome, draws=300)[""]
    return Estimate.of(float(mean_known(spearman(predicted, outcome))), mean_known(drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=192)
    parser.add_argument("--validation", type=int, default=36)
    parser.add_argument("--subsets", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2, help="retrainings of each subset")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    args = SimpleNamespace(**vars(given), rank=4, epochs=4, lr=3e-3, dim=1024, damping=0.1)
    started = time.perf_counter()
    base = quality.base_model(0, 150)
    pool = quality.make_examples(args.pool, 1)
    validation = quality.make_examples(args.validation, 2)
    matrices = quality.estimates(base, pool, validation, args)
    model, moments, rate = first_checkpoint(base, pool, args)
    before = time.perf_counter()
    steps = measure_steps(
        model,
        pool,
        validation,
        StepSettings(learning_rate=rate, tokens_per_batch=4096),
        moments=moments,
        projector=make_projector("sjlt", n_trainable(model), args.dim, 0),
    )
    step_seconds = time.perf_counter() - before
    rng = np.random.default_rng(0)
    members = np.zeros((args.subsets, args.pool), dtype=bool)
    for row in members:
        row[rng.permutation(args.pool)[: args.pool // 2]] = True
    before = time.perf_counter()
    outcome = quality.retrain(base, pool, validation, members, args, range(args.seeds))
    train_seconds = time.perf_counter() - before
    ladder = {
        f"at checkpoint 1: {n}": v for n, v in steps.items() if n not in ("measured", "before")
    }
    print(f"single steps {step_seconds:.0f} s, retrainings {train_seconds:.0f} s")
    print(f"{'estimator':36s}{'single steps':>26s}{'LDS':>26s}")
    rows = []
    for name, matrix in (ladder | matrices).items():
        quick, lds = scores(matrix, steps["measured"]), scores(members @ matrix, outcome)
        rows.append({"estimator": name, "steps": quick.to_dict(), "lds": lds.to_dict()})
        shown = [f"{e.value:.3f} ({e.low:.3f} .. {e.high:.3f})" for e in (quick, lds)]
        print(f"{name:36s}{shown[0]:>26s}{shown[1]:>26s}")
    alike = spearmanr(*([row[key]["value"] for row in rows] for key in ("steps", "lds"))).statistic
    print(f"rank correlation of the two over {len(rows)} estimators: {alike:.2f}")
    found = fit_datamodel(
        Outcomes(
            members @ matrices["adam less_code"],
            -outcome,
            [str(e.input_ids[0]) for e in validation],
            np.sort(matrices["adam less_code"], axis=0)[-(args.pool // 2) :].sum(axis=0),
        )
    )
    recall = found.recall
    print(
        f"adam less_code: recall at {found.k} {recall.value:.2f} ({recall.low:.2f} .. "
        f"{recall.high:.2f}), by chance {found.k / found.n_subsets:.2f}; "
        f"{time.perf_counter() - started:.0f} s in all"
    )
    if args.json:
        content = {"args": vars(given) | {"json": None}, "rows": rows, "alike": alike}
        args.json.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
