"""A tiny random model and test splits made from questions and answers."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bids_core.config import TestTask
from bids_core.data.splits import Split
from bids_core.data.tokenization import tokenize_example
from bids_core.records import Example, Message


@pytest.fixture
def model(tiny_model_folder):
    """Random, with weights large enough that it does not just repeat the last token."""
    torch.set_num_threads(1)
    config = AutoConfig.from_pretrained(tiny_model_folder, tie_word_embeddings=False)
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    torch.manual_seed(1)
    for parameter in made.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.fixture(scope="session")
def make_split(tokenizer):
    """Make a split of (task, question or turns, answer, choices or None)."""

    def _make(rows):
        examples = []
        for index, (task, question, answer, choices) in enumerate(rows):
            turns = [question] if isinstance(question, str) else question
            roles = ("user", "assistant")
            messages = [Message(roles[i % 2], turn) for i, turn in enumerate(turns)]
            if answer is not None:
                messages.append(Message("assistant", answer))
            examples.append(
                Example(
                    row_id=f"{task}:{index}",
                    source=task,
                    messages=tuple(messages),
                    location=f"{task}.jsonl:{index + 1}",
                    task=task,
                    capability="math",
                    choices=choices,
                )
            )
        tokens = [tokenize_example(example, tokenizer, 200) for example in examples]
        return Split.of(examples, tokens)

    return _make


@pytest.fixture(scope="session")
def make_task():
    def _make(task="sums", **settings):
        return TestTask(path="x.jsonl", task=task, capability="math", **settings)

    return _make


@pytest.fixture(scope="session")
def lm_eval_oracle():
    path = Path(__file__).parent / "lm_eval_oracle.py"
    spec = importlib.util.spec_from_file_location("lm_eval_oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
