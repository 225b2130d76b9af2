"""EK-FAC against its formulas with explicit Kronecker products on whole gradients."""

from __future__ import annotations

import pytest
import torch

from bids_core.data.batches import collate
from bids_core.errors import ArtifactError
from bids_core.gradients import (
    Ekfac,
    compute_features,
    make_projector,
    n_trainable,
    per_example_gradients,
)
from bids_core.gradients.parameters import trainable_slots

LENGTHS = (9, 17, 6, 12, 12, 21, 8, 10)


def covariances(model, examples):
    """Sums of x x' and g g' of every LoRA layer, from plain hooks on batches of one."""
    names = {m: n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    inputs, sums = {}, {}

    def keep(module, args, output):
        inputs[module] = args[0].detach()
        if output.requires_grad:
            output.register_hook(lambda g: add(module, g))

    def add(module, grad):
        g, x = grad[0], inputs[module][0]
        size = g.abs().amax(-1)
        live = size > 1e-6 * size.max()
        a, b = sums.get(names[module], (0, 0))
        sums[names[module]] = (a + x[live].T @ x[live], b + g[live].T @ g[live])

    handles = [m.register_forward_hook(keep) for m in names]
    model.eval()
    for example in examples:
        model(**collate([example], pad_token_id=0)).loss.backward()
    for handle in handles:
        handle.remove()
    return sums


def require_diagonal(basis, matrix):
    """The basis is orthonormal, and the matrix diagonal in it, as far as float32 goes."""
    basis, matrix = basis.double(), matrix.double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis)).double(), rtol=0, atol=1e-5)
    inside = basis.T @ matrix @ basis
    left = inside - torch.diag(inside.diagonal())
    assert left.abs().max() < 1e-5 * matrix.diagonal().sum()


@pytest.mark.parametrize("damping", [0.1, 1e-3])
def test_is_its_formula(damping, lora_llama, examples_of):
    """Where eigenvalues nearly agree, rounding decides about the basis, so the fitted one is taken.

    That it is a basis of eigenvectors is held first; everything else is computed anew.
    """
    model, examples = lora_llama, examples_of(LENGTHS)
    sums = covariances(model, examples)
    grads_BD = per_example_gradients(model, collate(examples, pad_token_id=0)).double()
    fitted = Ekfac.fit(model, examples, damping=damping, tokens_per_batch=50)
    expected = torch.zeros(len(examples), len(examples), dtype=torch.float64)
    for slot in trainable_slots(model):
        part = grads_BD[:, slot.offset : slot.offset + slot.numel]
        left, right = fitted.bases[slot.name]
        for basis, matrix in zip(
            (right, left), sums[slot.name.removesuffix(".weight")], strict=True
        ):
            require_diagonal(basis, matrix)
        basis = torch.kron(left.double(), right.double())
        moments = (part @ basis).square().mean(0)
        fisher = basis @ torch.diag(moments + damping * moments.mean()) @ basis.T
        expected += part @ torch.linalg.inv(fisher) @ part.T
    got = compute_features(
        model, examples, feature="ekfac", curvature=fitted,
        projector=make_projector("none", n_trainable(model), 1, 0),
    ).values.double()  # fmt: skip
    products = got @ got.T
    assert ((products - expected).norm() / expected.norm()) < 1e-3


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_every_parameter_is_whitened(family, family_model, with_lora, examples_of):
    """In the fitted basis mean squares are L / (L + damping): near one where L is large."""
    model = with_lora(family_model(family), lora_dropout=0.0)
    examples = examples_of(LENGTHS)
    fitted = Ekfac.fit(model, examples, damping=1e-6)
    features = compute_features(
        model, examples, feature="ekfac", curvature=fitted,
        projector=make_projector("none", n_trainable(model), 1, 0),
    ).values  # fmt: skip
    squares = features.square().mean(0)
    for slot in trainable_slots(model):
        part = squares[slot.offset : slot.offset + slot.numel]
        values = fitted.eigenvalues[slot.name].reshape(-1)
        large = values > 1e-3 * values.mean()
        torch.testing.assert_close(
            part[large], torch.ones_like(part[large]), rtol=0.01, atol=0, msg=slot.name
        )


def test_round_trip(tmp_path, lora_llama, examples_of):
    fitted = Ekfac.fit(lora_llama, examples_of((6, 9)))
    fitted.save(tmp_path)
    again = Ekfac.load(tmp_path, damping=0.5)
    assert again.damping == 0.5
    assert again.bases.keys() == fitted.bases.keys()
    for name, value in fitted.eigenvalues.items():
        assert torch.equal(again.eigenvalues[name], value)


def test_what_does_not_fit_is_refused(lora_llama, examples_of):
    examples = examples_of((6, 9))
    projector = make_projector("sjlt", n_trainable(lora_llama), 16, 0)
    with pytest.raises(ValueError, match="needs a fitted curvature"):
        compute_features(lora_llama, examples, feature="ekfac", projector=projector)
    with pytest.raises(ArtifactError, match="fit it on this model"):
        compute_features(
            lora_llama, examples, feature="ekfac", curvature=Ekfac({}, {}, 0.1),
            projector=projector,
        )  # fmt: skip
