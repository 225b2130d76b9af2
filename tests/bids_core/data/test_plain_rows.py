"""Plain chat rows keep the tokens and labels that they have had since the first release."""

from __future__ import annotations

import hashlib

import pytest

from bids_core.data.tokenization import tokenize_examples
from bids_core.records import Example, Message

WORDS = [
    "licence",
    "Add 2 and 3.",
    " leading",
    "trailing \n",
    "a\n\nb",
    "é 漢字 🙂",
    "x" * 40,
    "{}",
]
SINCE = {
    "chatml": "e4d79277965555a1",
    "default system": "0db543acebf85f07",
    "llama2": "7f06e72d9f3adfed",
    "phi3": "156fb1f9e5376fef",
    "plain": "0bf181361b15812f",
    "marked": "e4d79277965555a1",
}
"""Template -> digest of tokens and labels, computed with version 0.1 of the rendering."""
VOCABULARY = "545291e1e66448c9"
"""Digest of the vocabulary that the test tokenizer had then."""


def plain_examples():
    """Return conversations of one to three questions, every second one with a system turn."""
    examples = []
    for number in range(24):
        said = [WORDS[(number * 5 + k * 3) % len(WORDS)] for k in range(2 * (number % 3 + 1))]
        turns = [Message(("user", "assistant")[k % 2], text) for k, text in enumerate(said)]
        if number % 2:
            turns.insert(0, Message("system", "Be brief."))
        examples.append(Example(str(number), "s", tuple(turns), f"f:{number}"))
    return examples


def digest_of(tokenizer):
    digest = hashlib.sha256()
    for result in tokenize_examples(plain_examples(), tokenizer, 60):
        if isinstance(result, Exception):
            digest.update(result.reason.encode())
            continue
        digest.update(result.example.input_ids.tobytes())
        digest.update(result.example.labels.tobytes())
    return digest.hexdigest()[:16]


def vocabulary_of(tokenizer):
    return hashlib.sha256(repr(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]


@pytest.mark.parametrize("template", list(SINCE))
def test_tokens_and_labels_are_those_of_before(tokenizer_with, template):
    tokenizer = tokenizer_with(template)
    if vocabulary_of(tokenizer) != VOCABULARY:
        pytest.skip("this version of tokenizers trains another vocabulary")
    assert digest_of(tokenizer) == SINCE[template]
