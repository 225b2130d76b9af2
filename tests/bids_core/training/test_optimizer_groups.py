"""Which parameter is which: every layout is made by a real torch optimizer, and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bids_core.errors import ConfigError
from bids_core.training.optimizer_files import read_optimizer
from bids_core.training.optimizer_groups import names_of, plain_name

SHAPES = {
    "model.layers.0.q.lora_A.default.weight": (2, 8),
    "model.layers.0.q.lora_B.default.weight": (8, 2),
    "model.layers.0.v.lora_A.default.weight": (2, 8),
    "model.layers.0.v.lora_B.default.weight": (4, 2),
    "model.norm.modules_to_save.default.weight": (8,),
    "lm_head.modules_to_save.default.weight": (16, 8),
}
SQUARE = {
    "q.lora_A.default.weight": (8, 8),
    "q.lora_B.default.weight": (8, 8),
    "v.lora_A.default.weight": (8, 8),
    "v.lora_B.default.weight": (8, 8),
}


def saved(folder, shapes, groups, *, named=False, **settings):
    """Take a step with AdamW over groups of names; returns the state as read, and m by name."""
    parameters = {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
    for number, parameter in enumerate(parameters.values(), start=1):
        parameter.grad = torch.full_like(parameter, float(number))
    optimizer = torch.optim.AdamW(
        [
            {"params": [(name, parameters[name]) if named else parameters[name] for name in part]}
            for part in groups
        ],
        **settings,
    )
    optimizer.step()
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    true = {name: optimizer.state[value]["exp_avg"] for name, value in parameters.items()}
    return read_optimizer(folder), true


def require_read(folder: Path, shapes, groups, **settings):
    state, true = saved(folder, shapes, groups, **settings)
    names = names_of(state, shapes, folder)
    assert set(names.values()) == set(shapes)
    for key, name in names.items():
        assert torch.equal(state.moments[key].first, true[name]), name


NAMES = list(SHAPES)
A, B = [n for n in NAMES if "lora_A" in n], [n for n in NAMES if "lora_B" in n]
NORM, HEAD = [n for n in NAMES if "norm" in n], [n for n in NAMES if "lm_head" in n]
DECAYED = [n for n in NAMES if n not in NORM]


@pytest.mark.parametrize(
    "groups",
    [
        [NAMES],
        [NAMES, []],
        [DECAYED, NORM],  # Trainer
        [NORM, DECAYED],  # LLaMA-Factory's BAdam
        [A + HEAD, B, NORM, []],  # its LoRA+
        [A + HEAD, [], B, NORM],  # peft's LoRA+
        [A + B, HEAD + NORM],  # no known one: by shape
        [[name] for name in NAMES],  # rates of their own for every parameter
    ],
)
def test_groups_are_told_apart(tmp_path, groups):
    parts = [[name for name in NAMES if name in part] for part in groups]
    require_read(tmp_path, SHAPES, parts, lr=1e-3)


def test_axolotls_groups(tmp_path):
    embeddings = [name for name in NAMES if name in NORM + HEAD]
    require_read(tmp_path, SHAPES, [A[:1] + B[:1] + A[1:] + B[1:], embeddings], lr=1e-3)


def test_names_in_the_file_settle_it(tmp_path):
    groups = [[n for n in SQUARE if "lora_B" in n], [n for n in SQUARE if "lora_A" in n]]
    require_read(tmp_path, SQUARE, groups, named=True, lr=1e-3)


def test_one_group_of_square_weights_is_in_the_models_order(tmp_path):
    require_read(tmp_path, SQUARE, [list(SQUARE)], lr=1e-3)


@pytest.mark.parametrize("first", ["lora_A", "lora_B"])
def test_square_weights_that_could_be_swapped_are_refused(tmp_path, first):
    groups = [[n for n in SQUARE if first in n], [n for n in SQUARE if first not in n]]
    state, _ = saved(tmp_path, SQUARE, groups, lr=1e-3)
    with pytest.raises(ConfigError, match="could be swapped") as caught:
        names_of(state, SQUARE, tmp_path)
    assert "WarmupCallback" in str(caught.value)


def test_a_state_by_name_is_read_whatever_wrapped_the_model(tmp_path):
    """As accelerate writes it with FSDP's full state."""
    state, _ = saved(tmp_path, SHAPES, [NAMES], lr=1e-3)
    content = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    wrapped = {name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module.") for name in NAMES}
    by_name = {
        "state": {wrapped[name]: content["state"][number] for number, name in enumerate(NAMES)},
        "param_groups": [content["param_groups"][0] | {"params": list(wrapped.values())}],
    }
    (tmp_path / "optimizer.pt").unlink()
    torch.save(by_name, tmp_path / "optimizer.bin")
    read = read_optimizer(tmp_path)
    names = names_of(read, SHAPES, tmp_path)
    for number, name in enumerate(NAMES):
        key = next(key for key, found in names.items() if found == name)
        assert torch.equal(read.moments[key].first, state.moments[number].first)


def test_parameters_that_never_got_a_gradient_have_no_state(tmp_path):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES.values()]
    for parameter in parameters[1:]:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    state = read_optimizer(tmp_path)
    assert list(names_of(state, SHAPES, tmp_path).values()) == NAMES
    assert len(state.moments) == len(NAMES) - 1


@pytest.mark.parametrize(
    ("settings", "message"), [({"amsgrad": True}, "AMSGrad")]
)  # fmt: skip
def test_other_kinds_of_adam_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        saved(tmp_path, SHAPES, [NAMES], lr=1e-3, **settings)


def test_muon_is_refused(tmp_path):
    weight = torch.nn.Parameter(torch.zeros(4, 4))
    weight.grad = torch.ones(4, 4)
    optimizer = torch.optim.Muon([weight], lr=1e-3)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with pytest.raises(ConfigError, match="Muon"):
        read_optimizer(tmp_path)


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ("module.base_model.x.weight", "base_model.x.weight"),
        ("_orig_mod.module.a.b", "a.b"),
        ("a._fsdp_wrapped_module.b._checkpoint_wrapped_module.c", "a.b.c"),
        ("a.my_module.b", "a.my_module.b"),
    ],
)
def test_wrappers_leave_no_trace_in_names(wrapped, plain):
    assert plain_name(wrapped) == plain
