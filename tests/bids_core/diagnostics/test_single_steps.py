"""Measured and predicted loss changes against slow, obvious ones on a tiny model."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import build_llama
from peft import LoraConfig, get_peft_model

from bids_core.diagnostics.rank_correlation import spearman
from bids_core.diagnostics.single_steps import BEFORE, LADDER, StepSettings, measure_steps
from bids_core.errors import ArtifactError
from bids_core.gradients import make_projector, n_trainable
from bids_core.models.adapters import last_layer_names
from bids_core.records import IGNORED_LABEL, TokenizedExample
from bids_core.training.moments import AdamMoments

RATE, DECAY, BETAS, EPS, STEP = 1e-2, 0.1, (0.9, 0.99), 1e-8, 7


def examples(lengths, seed):
    rng = np.random.default_rng(seed)
    made = []
    for index, length in enumerate(lengths):
        ids = rng.integers(3, 64, length).astype(np.int32)
        labels = ids.copy()
        labels[: length // 2] = IGNORED_LABEL
        made.append(TokenizedExample(f"{seed}-{index}", ids, labels))
    return made


@pytest.fixture(scope="module")
def model():
    wrapped = get_peft_model(
        build_llama(64, initializer_range=0.2),
        LoraConfig(r=2, lora_alpha=4, lora_dropout=0.3, target_modules=["q_proj"]),
    )
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped


@pytest.fixture(scope="module")
def moments(model):
    torch.manual_seed(3)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return AdamMoments(
        {n: 1e-4 * torch.randn(p.shape) for n, p in named},
        {n: 10 ** torch.empty(p.shape).uniform_(-8, -3) for n, p in named},
        BETAS,
        EPS,
        STEP,
    )


ROWS, HELD_OUT = examples((11, 5, 8, 9), 5), examples((7, 12, 6), 6)


def loss(model, example):
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    labels = torch.from_numpy(example.labels.astype(np.int64))[None]
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=IGNORED_LABEL)


def gradients(model, example):
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    parameters = [p for p in model.parameters() if p.requires_grad]
    return dict(zip(names, torch.autograd.grad(loss(model, example), parameters), strict=True))


def adamw(parameter, grad, m, v):
    """AdamW's update, written out (Loshchilov and Hutter, algorithm 2)."""
    m = BETAS[0] * m + (1 - BETAS[0]) * grad
    v = BETAS[1] * v + (1 - BETAS[1]) * grad**2
    m_hat, v_hat = m / (1 - BETAS[0] ** (STEP + 1)), v / (1 - BETAS[1] ** (STEP + 1))
    return parameter * (1 - RATE * DECAY) - RATE * m_hat / (v_hat.sqrt() + EPS)


def oracle(model, moments):
    """Measured falls, and the first order of each, in float64 with a fresh copy for each row."""
    precise = copy.deepcopy(model).double().eval()
    held = [gradients(precise, example) for example in HELD_OUT]
    before = [loss(precise, example).item() for example in HELD_OUT]
    measured, first = [], []
    for row in ROWS:
        stepped = copy.deepcopy(precise)
        grads = gradients(precise, row)
        change = {}
        for name, parameter in stepped.named_parameters():
            if parameter.requires_grad:
                m, v = moments.exp_avg[name].double(), moments.exp_avg_sq[name].double()
                new = adamw(parameter.detach(), grads[name], m, v)
                change[name] = new - parameter.detach()
                parameter.data.copy_(new)
        measured.append(
            [b - loss(stepped, e).item() for b, e in zip(before, HELD_OUT, strict=True)]
        )
        first.append([-sum((change[n] * g[n]).sum().item() for n in g) for g in held])
    return np.array(before), np.array(measured), np.array(first)


def steps(model, moments, **changes):
    settings = {"learning_rate": RATE, "weight_decay": DECAY, "tokens_per_batch": 24}
    return measure_steps(
        model,
        ROWS,
        HELD_OUT,
        StepSettings(**(settings | changes)),
        moments=moments,
        projector=make_projector("rademacher", n_trainable(model), 32, 0),
    )


def test_measured_and_first_order_are_those_of_the_slow_way(model, moments):
    found = steps(model, moments)
    before, measured, first = oracle(model, moments)
    np.testing.assert_allclose(found[BEFORE][0], before, rtol=1e-5)
    np.testing.assert_allclose(found["measured"], measured, atol=3e-6)
    np.testing.assert_allclose(found["first_order"], first, rtol=2e-3, atol=1e-6)
    assert np.abs(measured).max() > 1e-3  # far above what the tolerance could hide


def test_the_feature_is_the_runs_own_and_each_rung_is_near_the_last(model, moments):
    found = steps(model, moments)
    assert set(found) == {BEFORE, "measured", *LADDER} - {"layers"}
    grads = [gradients(model.eval(), e) for e in (*ROWS, *HELD_OUT)]
    flat = torch.stack([torch.cat([g.reshape(-1) for g in one.values()]) for one in grads])
    m, v = moments.flat(list(grads[0]))
    rows, held = flat[: len(ROWS)], flat[len(ROWS) :]
    less = (BETAS[0] * m + (1 - BETAS[0]) * rows) / torch.sqrt(
        BETAS[1] * v + (1 - BETAS[1]) * rows**2 + EPS
    )
    np.testing.assert_allclose(found["feature"], less @ held.T, rtol=2e-3, atol=1e-4)
    cosine = torch.nn.functional.normalize(less) @ torch.nn.functional.normalize(held).T
    np.testing.assert_allclose(found["cosine"], cosine, atol=1e-4)
    np.testing.assert_allclose(found["stored"], found["projected"], atol=2e-3)
    assert not np.array_equal(found["stored"], found["projected"])  # float16 shows


def test_a_projection_to_the_whole_space_costs_nothing(model, moments):
    found = measure_steps(
        model,
        ROWS,
        HELD_OUT,
        StepSettings(learning_rate=RATE, storage="float32"),
        moments=moments,
        projector=make_projector("none", n_trainable(model), 1, 0),
    )
    np.testing.assert_allclose(found["stored"], found["cosine"], atol=1e-6)


@pytest.mark.parametrize("dot", [False, True])
def test_the_last_layers_alone_are_a_rung_of_their_own(model, moments, dot):
    names = last_layer_names(model, 1)
    kept = torch.cat(
        [
            torch.full((p.numel(),), name in names)
            for name, p in model.named_parameters()
            if p.requires_grad
        ]
    )
    assert 0 < kept.sum() < len(kept)
    settings = StepSettings(learning_rate=RATE, feature="sgd", layers=1, dot=dot, storage="float32")
    projector = make_projector("none", int(kept.sum()), 1, 0)
    found = measure_steps(model, ROWS, HELD_OUT, settings, moments=moments, projector=projector)
    flat = torch.stack(
        [
            torch.cat([g.reshape(-1) for g in gradients(model.eval(), e).values()])[kept]
            for e in (*ROWS, *HELD_OUT)
        ]
    )
    if not dot:
        flat = torch.nn.functional.normalize(flat)
    expected = flat[: len(ROWS)] @ flat[len(ROWS) :].T
    np.testing.assert_allclose(found["layers"], expected, atol=1e-4)
    np.testing.assert_allclose(found["stored"], expected, atol=1e-4)


@pytest.mark.parametrize("feature", ["sgd", "sign"])
def test_other_features_and_dot_products(model, moments, feature):
    found = steps(model, moments, feature=feature, dot=True)
    assert "cosine" not in found
    flat = [
        torch.cat([g.reshape(-1) for g in gradients(model.eval(), e).values()])
        for e in (*ROWS, *HELD_OUT)
    ]
    rows, held = torch.stack(flat[: len(ROWS)]), torch.stack(flat[len(ROWS) :])
    rows = rows.sign() if feature == "sign" else rows
    np.testing.assert_allclose(found["feature"], rows @ held.T, rtol=1e-3, atol=1e-4)
    scale = np.abs(found["projected"]).max()
    np.testing.assert_allclose(found["stored"], found["projected"], atol=2e-3 * scale)


def test_a_feature_that_is_no_gradient_gets_the_first_order_alone(model, moments):
    assert set(steps(model, moments, feature=None)) == {BEFORE, "measured", "first_order"}


def test_the_model_is_left_as_it_was_and_blocks_change_nothing(model, moments, monkeypatch):
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.train()
    whole = steps(model, moments)
    monkeypatch.setattr("bids_core.diagnostics.single_steps._BLOCK_BYTES", 1)
    done = []
    one_by_one = measure_steps(
        model,
        ROWS,
        HELD_OUT,
        StepSettings(learning_rate=RATE, weight_decay=DECAY, tokens_per_batch=24),
        moments=moments,
        projector=make_projector("rademacher", n_trainable(model), 32, 0),
        on_progress=lambda n, total: done.append((n, total)),
    )
    assert model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for name, values in whole.items():
        np.testing.assert_allclose(one_by_one[name], values, rtol=1e-3, atol=1e-5)


def test_small_steps_are_ranked_by_their_first_order(model, moments):
    """The truth is known: a step small enough does what its first order says."""
    rows = examples((9,) * 12, 8)
    found = measure_steps(
        model,
        rows,
        HELD_OUT,
        StepSettings(learning_rate=1e-3),
        moments=moments,
        projector=make_projector("rademacher", n_trainable(model), 32, 0),
    )
    assert spearman(found["first_order"], found["measured"]).min() > 0.95
    assert math.isfinite(found["cosine"].sum())


def test_moments_of_another_model_are_refused(model, moments):
    wrong = AdamMoments({"x": torch.ones(1)}, {"x": torch.ones(1)}, BETAS, EPS, STEP)
    with pytest.raises(ArtifactError, match="differ in"):
        steps(model, wrong)
