"""Helpers of the data tests: files in a temporary folder, and a config that reads them."""

from __future__ import annotations

import copy
import functools
import json
import os
from pathlib import Path

import pytest

from bids_core.config import RunConfig
from bids_core.records import Example, Message

TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "default system": (  # as SmolLM2 and Qwen2 do
        "{% for m in messages %}{% if loop.first and messages[0].role != 'system' %}"
        "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "llama2": (  # trims, and has no generation prompt
        "{% for m in messages %}"
        "{% if m.role == 'user' %}{{ '[INST] ' + m.content | trim + ' [/INST]' }}"
        "{% elif m.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "phi3": (  # ends a finished conversation with another token
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ '<|endoftext|>' }}"
        "{% endif %}"
    ),
    "thinking": (  # a blank thought before the last answer only, as Qwen3 does
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "plain": (  # turns do not end with a special token
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    ),
    "marked": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}"
        "{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}
"""Chat templates of the kinds that models ship."""


@pytest.fixture(scope="session")
def tokenizer_with(tokenizer):
    """Return the test tokenizer with another chat template: one of `TEMPLATES`, or given."""

    @functools.cache
    def _with(template):
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = TEMPLATES.get(template, template)
        return changed

    return _with


@pytest.fixture
def write(tmp_path):
    """Write a file (JSONL from rows, or text or bytes as they are); returns its name."""

    def _write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            lines = [row if isinstance(row, str) else json.dumps(row) for row in content]
            content = "".join(line + "\n" for line in lines)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return _write


@pytest.fixture
def make_config():
    """Make a config of sources; a source is a path or a dict."""

    def entry(source, **more):
        return more | ({"path": source} if isinstance(source, str) else source)

    def _make(pool, validation=None, test=(), **data):
        tasks = validation or ["val.jsonl"]
        return RunConfig.model_validate(
            {
                "model": {"path": "unused"},
                "pool": [entry(source) for source in pool],
                "validation": [
                    entry(s, task=f"val{i}", capability="c") for i, s in enumerate(tasks)
                ],
                "test": [entry(s, task=f"test{i}", capability="c") for i, s in enumerate(test)],
                "data": data,
            }
        )

    return _make


@pytest.fixture
def make_example():
    """Make an example of one question and answer."""

    def _make(ask, answer="yes", row_id="r", **more):
        messages = (Message("user", ask), Message("assistant", answer))
        return Example(row_id=row_id, source="s", messages=messages, location="f:1", **more)

    return _make


@pytest.fixture(scope="session")
def real_data():
    """Return the folder with the public data sets."""
    folder = os.environ.get("BIDS_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BIDS_REAL_DATA does not name the folder with the public data sets")
    return Path(folder)
