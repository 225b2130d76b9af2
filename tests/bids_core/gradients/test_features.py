"""A shard's features against the formulas applied to whole gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.data.batches import collate
from bids_core.errors import ArtifactError, DataError, NonFiniteError
from bids_core.gradients import (
    adam_update,
    compute_features,
    extraction,
    make_projector,
    n_trainable,
    per_example_gradients,
)
from bids_core.training.moments import AdamMoments

LENGTHS = (19, 7, 12, 33, 5, 8, 8, 21)


@pytest.fixture
def setting(lora_llama, examples_of, random_moments):
    examples = examples_of(LENGTHS)
    grads = per_example_gradients(lora_llama, collate(examples, pad_token_id=0))
    return lora_llama, examples, grads, random_moments(lora_llama)


def flat(moments, model):
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return moments.flat(names)


@pytest.mark.parametrize("kind", ["none", "rademacher", "sjlt", "srht"])
@pytest.mark.parametrize("feature", ["less_code", "paper", "sgd", "sign"])
def test_equals_projecting_whole_gradients(feature, kind, setting):
    model, examples, grads, moments = setting
    projector = make_projector(kind, n_trainable(model), 64, 4)
    m, v = flat(moments, model)
    if feature in ("sgd", "sign"):
        expected = grads if feature == "sgd" else grads.sign()
        chosen = {"feature": feature}
    else:
        expected = adam_update(
            grads, m, v, betas=moments.betas, eps=moments.eps, step=moments.step, mode=feature
        )
        chosen = {"feature": "adam", "adam_mode": feature, "moments": moments}
    got = compute_features(model, examples, projector=projector, tokens_per_batch=64, **chosen)
    expected = projector.project(expected)
    if feature != "sign":  # the sign of a gradient near zero hangs on its rounding
        error = (got.values - expected).norm(dim=1) / expected.norm(dim=1)
        assert error.max() < 1e-4
    else:
        assert torch.cosine_similarity(got.values, expected, dim=1).min() > 0.999
    assert got.row_ids == [example.row_id for example in examples]
    torch.testing.assert_close(got.norms, got.values.norm(dim=1))
    assert got.nonfinite_row_ids == []
    assert got.n_tokens == sum(LENGTHS)


def test_losses_are_the_models_own(setting):
    model, examples, _, _ = setting
    projector = make_projector("sjlt", n_trainable(model), 16, 0)
    got = compute_features(model, examples, feature="sgd", projector=projector)
    model.eval()
    for example, loss in zip(examples, got.losses, strict=True):
        batch = collate([example], pad_token_id=0)
        torch.testing.assert_close(model(**batch).loss, loss, rtol=1e-5, atol=1e-6)


def test_the_same_plan_gives_the_same_bits(setting):
    model, examples, _, moments = setting
    projector = make_projector("sjlt", n_trainable(model), 64, 0)
    settings = {"feature": "adam", "projector": projector, "moments": moments}
    one = compute_features(model, examples, tokens_per_batch=64, **settings)
    other = compute_features(model, examples, tokens_per_batch=64, **settings)
    assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("n_shards", [2, 4, 8])
def test_shards_and_budgets_do_not_matter(n_shards, setting):
    model, examples, _, moments = setting
    projector = make_projector("sjlt", n_trainable(model), 64, 0)
    settings = {"feature": "adam", "projector": projector, "moments": moments}
    whole = compute_features(model, examples, tokens_per_batch=1000, **settings)
    cuts = np.array_split(np.arange(len(examples)), n_shards)
    parts = [
        compute_features(model, [examples[i] for i in cut], tokens_per_batch=40, **settings)
        for cut in cuts
    ]
    values = torch.cat([part.values for part in parts])
    assert ((values - whole.values).norm(dim=1) / whole.norms).max() < 1e-4


@pytest.mark.parametrize("mode", ["less_code", "paper"])
def test_eps_dominated_share(mode, setting):
    model, examples, grads, moments = setting
    _, v = flat(moments, model)
    projector = make_projector("sjlt", n_trainable(model), 16, 0)
    got = compute_features(
        model, examples, feature="adam", projector=projector, moments=moments, adam_mode=mode,
        tokens_per_batch=1,
    )  # fmt: skip
    second = 0.999 * v + 0.001 * grads**2
    small = second < 1e-8 if mode == "less_code" else (second / (1 - 0.999**7)).sqrt() < 1e-8
    assert got.eps_dominated_share == pytest.approx(small.float().mean().item(), abs=1e-4)
    assert 0 <= got.eps_dominated_share < 1


def poison(model, token, monkeypatch):
    """Make the embedding of one token NaN, as a broken weight would be."""
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = torch.nan


def test_nonfinite_rows_are_named_or_rejected(setting, monkeypatch):
    model, examples, _, moments = setting
    token = int(examples[3].input_ids[20])
    hit = [e.row_id for e in examples if token in e.input_ids]
    poison(model, token, monkeypatch)
    projector = make_projector("sjlt", n_trainable(model), 16, 0)
    settings = {"projector": projector, "tokens_per_batch": 64}
    with pytest.raises(NonFiniteError, match="'row-3'"):
        compute_features(model, examples, feature="sgd", **settings)
    for feature in ("adam", "sgd", "sign"):
        got = compute_features(
            model, examples, feature=feature, moments=moments, on_nonfinite="reject", **settings
        )
        assert got.nonfinite_row_ids == hit
        assert got.row_ids == [e.row_id for e in examples if e.row_id not in hit]
        assert torch.isfinite(got.values).all()
        assert len(got.values) == len(got.norms) == len(got.losses) == len(got.row_ids)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_running_out_of_memory_halves_the_batch(setting, monkeypatch, error):
    model, examples, _, _ = setting
    projector = make_projector("sjlt", n_trainable(model), 64, 0)
    settings = {"feature": "sgd", "projector": projector, "tokens_per_batch": 1000}
    expected = compute_features(model, examples, **settings)
    real, sizes = extraction.stream_gradients, []

    def small_memory(model, batch, sink):
        sizes.append(len(batch["labels"]))
        losses = real(model, batch, sink)
        if len(batch["labels"]) > 2:
            raise error
        return losses

    monkeypatch.setattr(extraction, "stream_gradients", small_memory)
    got = compute_features(model, examples, **settings)
    assert max(sizes) > 2 >= min(sizes)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-4, atol=1e-6)


def test_an_example_without_completion_is_named(setting):
    model, examples, _, _ = setting
    examples[2].labels[:] = -100
    projector = make_projector("sjlt", n_trainable(model), 16, 0)
    with pytest.raises(DataError, match="'row-2'"):
        compute_features(model, examples, feature="sgd", projector=projector)


def test_what_does_not_fit_together_is_refused(setting):
    model, examples, _, moments = setting
    good = make_projector("sjlt", n_trainable(model), 16, 0)
    with pytest.raises(ValueError, match="needs the moments"):
        compute_features(model, examples, feature="adam", projector=good)
    with pytest.raises(ValueError, match="projector is for 9 parameters"):
        compute_features(model, examples, feature="sgd", projector=make_projector("sjlt", 9, 4, 0))
    name, *_ = moments.exp_avg
    fewer = AdamMoments(
        {n: t for n, t in moments.exp_avg.items() if n != name}, moments.exp_avg_sq,
        moments.betas, moments.eps, moments.step,
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="differ"):
        compute_features(model, examples, feature="adam", projector=good, moments=fewer)


def test_progress_reaches_the_total(setting):
    model, examples, _, _ = setting
    seen = []
    compute_features(
        model, examples, feature="sgd", projector=make_projector("sjlt", n_trainable(model), 8, 0),
        tokens_per_batch=40, on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (len(examples), len(examples))
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", ["rds", "rds_plus"])
def test_representations_are_pooled_hidden_states(kind, setting):
    model, examples, _, _ = setting
    got = compute_features(model, examples, feature=kind, tokens_per_batch=64)
    plain = compute_features(
        model, examples, feature="sgd", projector=make_projector("sjlt", n_trainable(model), 8, 0)
    )
    torch.testing.assert_close(got.losses, plain.losses, rtol=1e-5, atol=1e-6)
    model.eval()
    for example, value in zip(examples, got.values, strict=True):
        ids = torch.from_numpy(example.input_ids.astype("int64"))[None]
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        weights = torch.arange(1.0, len(hidden) + 1)
        mean = (hidden * weights[:, None]).sum(0) / weights.sum()
        expected = hidden[-1] if kind == "rds" else mean
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_validation_features():
    pairs = {k: extraction.validation_feature(k) for k in ("adam", "sgd", "sign", "ekfac", "rds")}
    assert pairs == {"adam": "sgd", "sgd": "sgd", "sign": "sgd", "ekfac": "ekfac", "rds": "rds"}
