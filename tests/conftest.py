"""Fixtures: a real (trained on the spot) tokenizer with a chat template, and tiny random models."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Tiny tensors gain nothing from threads, and wait for one another where servers run beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # pytest-xdist's: tests read what a pipe gets
settings.register_profile("bids", deadline=None)  # a busy machine is no failure
settings.load_profile("bids")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer():
    """Train a byte-level BPE tokenizer on the licence text; ChatML as its template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
    core.train_from_iterator(text.splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


LONG = ("test_end_to_end.py", "deployments", "faults", "distribution", "flows")
"""Tests that wait for servers and workers, in tests/: begun first, beside the many short ones. The
faults leave failed runs on their server, and `test_deploy.py` expects none: it comes before."""


def pytest_collection_modifyitems(items):
    """Put the long tests first, so that no process is left alone with one at the end."""
    folder = Path(__file__).parent

    def place(item):
        first = item.path.relative_to(folder).parts[0]
        return LONG.index(first) if first in LONG else len(LONG)

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def _imported_for_good():
    """Spare the stages' gc.collect() what libraries keep for ever: half a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


def build_llama(vocab_size: int, **changes):
    """Make a random two-layer Llama, float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes)))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory, tokenizer):
    """Return a folder with a tiny random Llama and its tokenizer, as `from_pretrained` wants it."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    build_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One real Prefect server on SQLite, for all tests that need one that stays."""
    from stack import Server

    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def first_deploy(server):
    """What the first `bids deploy --json` on the server said."""
    return json.loads(server.bids("deploy", "--json").stdout)
