"""Per-example gradients against a loop of autograd over batches of one."""

from __future__ import annotations

import logging

import pytest
import torch

from bids_core.data.batches import collate
from bids_core.errors import DataError, ModelError
from bids_core.gradients import per_example_gradients
from bids_core.gradients.plan import plan_for

FAMILIES = [
    "llama", "llama-tied", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi", "phi3",
    "cohere", "granite", "olmo2", "qwen2_moe", "gpt2", "gpt_neox", "opt", "bloom",
]  # fmt: skip


def assert_equal_rows(got, expected, tolerance=1e-4):
    error = (got - expected).norm(dim=1) / expected.norm(dim=1)
    assert got.dtype == torch.float32
    assert error.max() < tolerance, error


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_batches_of_one(family, side, family_model, with_lora, examples_of, oracle):
    model = with_lora(family_model(family))
    examples = examples_of()
    batch = collate(examples, pad_token_id=0, padding_side=side)
    assert_equal_rows(per_example_gradients(model, batch), oracle(model, examples))
    plan = plan_for(model)
    assert plan.head is not None, "logits would be computed where no label is"
    assert not plan.looped, [slot.name for slot in plan.looped]


def test_fused_experts_are_looped(family_model, with_lora, examples_of, oracle):
    model = with_lora(family_model("mixtral"), lora_dropout=0.0)
    examples = examples_of()
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))
    looped = {slot.name for slot in plan_for(model).looped}
    assert looped
    assert all("experts" in name or "gate" in name for name in looped), looped


def test_order_and_batch_size_do_not_matter(lora_llama, examples_of):
    examples = examples_of((9, 23, 4, 16, 30, 11, 11))
    whole = per_example_gradients(lora_llama, collate(examples, pad_token_id=0))
    order = [3, 0, 6, 2, 5, 1, 4]
    for part in (order[:2], order[2:3], order[3:]):
        batch = collate([examples[i] for i in part], pad_token_id=0)
        assert_equal_rows(per_example_gradients(lora_llama, batch), whole[part])


def test_the_pad_token_does_not_matter(lora_llama, examples_of):
    examples = examples_of()
    one = per_example_gradients(lora_llama, collate(examples, pad_token_id=0))
    other = per_example_gradients(lora_llama, collate(examples, pad_token_id=50))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["norm"]},
        {"bias": "lora_only"},
    ],
    ids=str,
)
def test_kinds_of_adapters(settings, family_model, with_lora, examples_of, oracle):
    model = with_lora(family_model("qwen2"), **settings)  # its q, k, v have biases
    examples = examples_of()
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "mixtral"])
def test_full_model_without_adapter(family, family_model, examples_of, oracle):
    model = family_model(family)
    examples = examples_of((9, 5))
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant, family_model, with_lora, examples_of, oracle):
    model = with_lora(family_model("llama"))
    examples = examples_of()
    expected = oracle(model, examples)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.train()
    runs = []
    layer = model.get_base_model().model.layers[0]
    handle = layer.self_attn.register_forward_hook(lambda *_: runs.append(1))
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    handle.remove()
    assert_equal_rows(got, expected)
    assert len(runs) % 2 == 0, "the layer was not recomputed in the backward pass"
    assert model.training
    assert layer.training


def test_a_module_reached_twice_adds_up(family_model, with_lora, examples_of, oracle):
    model = family_model("llama")
    model.model.layers[1] = model.model.layers[0]
    model = with_lora(model)
    examples = examples_of()
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))
    assert not plan_for(model).looped


class RoutedExperts(torch.nn.Module):
    """Experts that are linear layers of their own and see only the tokens routed to them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.experts = torch.nn.ModuleList(torch.nn.Linear(size, size) for _ in range(3))

    def forward(self, hidden):
        flat = hidden.reshape(-1, hidden.shape[-1])
        chosen = (flat.sum(1) * 1000).long().remainder(len(self.experts))
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows = (chosen == index).nonzero().flatten()
            out = out.index_add(0, rows, expert(flat[rows]))
        return out.view_as(hidden)


def test_routed_tokens_are_looped_and_said_so(family_model, examples_of, oracle, caplog):
    model = family_model("llama")
    for layer in model.model.layers:
        layer.mlp = RoutedExperts(32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("experts" in name or "q_proj" in name)
    examples = examples_of()
    with caplog.at_level(logging.WARNING, logger="bids_core"):
        got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))
    looped = {slot.name for slot in plan_for(model).looped}
    assert all("experts" in name for name in looped)
    assert looped
    assert "one example at a time" in caplog.text


def test_a_weight_used_without_its_module_is_looped(family_model, examples_of, oracle):
    model = family_model("llama")

    class Twice(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, hidden):
            return self.inner(hidden) + torch.nn.functional.linear(hidden, self.inner.weight) ** 2

    attention = model.model.layers[0].self_attn
    attention.o_proj = Twice(attention.o_proj)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("o_proj" in name)
    examples = examples_of()
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert_equal_rows(got, oracle(model, examples))
    assert [slot.name for slot in plan_for(model).looped] == [
        "model.layers.0.self_attn.o_proj.inner.weight"
    ]


def test_the_order_is_that_of_named_parameters(lora_llama, examples_of):
    batch = collate(examples_of((8,)), pad_token_id=0)
    got = per_example_gradients(lora_llama, batch)[0]
    lora_llama.eval()
    lora_llama(**batch).loss.backward()
    start = 0
    for name, parameter in lora_llama.named_parameters():
        if parameter.requires_grad:
            piece = got[start : start + parameter.numel()].view_as(parameter)
            torch.testing.assert_close(piece, parameter.grad, rtol=1e-4, atol=1e-7, msg=name)
            start += parameter.numel()
    assert start == len(got)


def test_the_model_is_left_as_it_was(lora_llama, examples_of):
    lora_llama.train()
    before = {n: (p.requires_grad, p.grad) for n, p in lora_llama.named_parameters()}
    with torch.no_grad():
        per_example_gradients(lora_llama, collate(examples_of(), pad_token_id=0))
    assert lora_llama.training
    assert before == {n: (p.requires_grad, p.grad) for n, p in lora_llama.named_parameters()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lora_llama.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_base_with_float32_adapters(
    dtype, family_model, with_lora, examples_of, oracle
):
    examples = examples_of()
    exact = oracle(with_lora(family_model("llama")), examples)
    model = with_lora(family_model("llama").to(dtype))
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert torch.cosine_similarity(got, exact, dim=1).min() > 0.99
    assert ((got.norm(dim=1) / exact.norm(dim=1)) - 1).abs().max() < 0.05
    assert model.config._attn_implementation == "sdpa", "the attention kernel was not put back"


def test_bfloat16_adapters(family_model, with_lora, examples_of, oracle):
    examples = examples_of()
    exact = oracle(with_lora(family_model("llama")), examples)
    model = with_lora(family_model("llama")).to(torch.bfloat16)
    got = per_example_gradients(model, collate(examples, pad_token_id=0))
    assert got.dtype == torch.float32
    assert torch.cosine_similarity(got, exact, dim=1).min() > 0.98


def test_an_example_without_completion_is_refused(lora_llama, examples_of):
    batch = collate(examples_of(), pad_token_id=0)
    batch["labels"][1] = -100
    with pytest.raises(DataError, match=r"\[1\]"):
        per_example_gradients(lora_llama, batch)


def test_a_frozen_model_is_refused(family_model, examples_of):
    model = family_model("llama").requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameter"):
        per_example_gradients(model, collate(examples_of(), pad_token_id=0))
