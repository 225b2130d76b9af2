"""Tokenized examples of random tokens, the second half of each the completion."""

from __future__ import annotations

import numpy as np

from bids_core.records import TokenizedExample


def make_examples(n=14, *, vocabulary=500, seed=0):
    """Return n examples of 6 to 19 tokens."""
    generator = np.random.default_rng(seed)
    examples = []
    for number in range(n):
        ids = generator.integers(3, vocabulary, int(generator.integers(6, 20))).astype(np.int32)
        labels = ids.copy()
        labels[: len(ids) // 2] = -100
        examples.append(TokenizedExample(f"r{number}", ids, labels))
    return examples
