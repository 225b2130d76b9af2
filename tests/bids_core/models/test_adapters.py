"""What is plain of adapters without peft is what peft makes of them; and their expressions."""

from __future__ import annotations

import pytest
from conftest import build_llama

from bids_core.config import LoraConfig
from bids_core.errors import ConfigError
from bids_core.models.adapters import (
    add_lora,
    check_patterns,
    reaches_all_layers,
    unreached_layers,
)
from bids_core.sandbox import expressions

PLAIN = [
    ("q_proj", "k_proj", "v_proj", "o_proj"), ("down_proj",), ("gate_proj", "v_proj"),
]  # fmt: skip
NOT_PLAIN = [
    "all-linear", r".*layers\.0\..*q_proj", ("q_proj", "nope"), ("mlp",),
    ("embed_tokens", "q_proj"), ("layers.0.self_attn.q_proj",), ("model",),
]  # fmt: skip

ENDLESS = r"([a-z_.0-9]+)+X"


@pytest.mark.parametrize("targets", PLAIN)
def test_where_it_is_plain_peft_reaches_all_layers(targets):
    lora = LoraConfig(r=2, target_modules=targets)
    assert reaches_all_layers(build_llama(64), lora)
    assert unreached_layers(add_lora(build_llama(64), lora, seed=0)) is None


@pytest.mark.parametrize("targets", NOT_PLAIN)
def test_everything_else_is_left_to_peft(targets):
    assert not reaches_all_layers(build_llama(64), LoraConfig(r=2, target_modules=targets))


@pytest.mark.parametrize(
    "settings",
    [{"target_modules": ENDLESS}, {"exclude_modules": ENDLESS}, {"rank_pattern": {ENDLESS: 4}},
     {"alpha_pattern": {"q_proj": 2, ENDLESS: 4}}, {"layers_pattern": ENDLESS}],
)  # fmt: skip
def test_expressions_that_take_for_ever_on_a_name_are_refused(monkeypatch, settings):
    matcher = expressions._MATCHER.replace("ITIMER_PROF, 5", "ITIMER_PROF, 0.2")
    monkeypatch.setattr(expressions, "_MATCHER", matcher)
    (name,) = settings
    expressions.expression.cache_clear()
    with pytest.raises(ConfigError, match=rf"^lora\.{name}: .* takes more than"):
        check_patterns(settings, build_llama(64), key="lora")


def test_ordinary_settings_pass():
    settings = {"target_modules": r"model\.layers\.\d+\..*(q|v)_proj", "exclude_modules": ["x("],
                "rank_pattern": {r"layers\.0\..*q_proj": 4}, "alpha_pattern": {},
                "layers_pattern": None}  # fmt: skip
    check_patterns(settings, build_llama(64), key="lora")
    with pytest.raises(ConfigError, match=r"lora\.alpha_pattern .* is not a regular expression"):
        check_patterns({"alpha_pattern": {"a(": 2}}, build_llama(64), key="lora")
