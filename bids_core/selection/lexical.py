"""Selection signals from text alone: BM25 and DSIR.

Shapes: N training rows, M validation instances, G buckets of hashed n-grams.
"""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import xxhash

from bids_core.errors import MatrixError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

BUCKETS: Final = 10_000
"""Buckets of hashed n-grams: DSIR's default."""
_SMOOTHING: Final = 1e-8
"""Added to every probability, as in DSIR's code."""
_TOKEN: Final = re.compile(r"\w+|[^\w\s]+")
"""Words and runs of punctuation: nltk's WordPunctTokenizer, which DSIR uses."""


def bm25_scores(texts: Sequence[str], validation_texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return how well each training text answers each validation text as a query.

    Args:
        texts: N training texts.
        validation_texts: M validation texts.

    Returns:
        [N, M] float32 BM25 scores (k1 1.5, b 0.75, without English stop words).

    Raises:
        MatrixError: no training text contains a word.

    Source: Robertson and Zaragoza 2009, through bm25s (arXiv 2407.03618); as a baseline in LESS
    (arXiv 2402.04333).
    """
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets its own level to DEBUG
    corpus = bm25s.tokenize(list(texts), show_progress=False)
    if not corpus.vocab:
        msg = "no training text contains a word, so BM25 has nothing to compare"
        raise MatrixError(msg)
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    queries = bm25s.tokenize(list(validation_texts), return_ids=False, show_progress=False)
    scores = np.zeros((len(texts), len(validation_texts)), dtype=np.float32)
    for column, words in enumerate(queries):
        known = [word for word in words if word in corpus.vocab]
        if known:
            scores[:, column] = index.get_scores(known)
    return scores


def dsir_log_weights(texts: Sequence[str], validation_texts: Sequence[str]) -> Floats:
    """Return the log importance weight of each training text.

    Texts are bags of hashed unigrams and bigrams; a text's weight is how much likelier its n-grams
    are under the validation texts' distribution than under the pool's. Deviations from the authors'
    code: xxh3 as the hash, and no minimum text length.

    Args:
        texts: N training texts.
        validation_texts: M validation texts; one target distribution for all of them.

    Returns:
        [N] float64.

    Source: DSIR (arXiv 2302.03169), equation 1 with the features of section 4.
    """
    pool = [_buckets(text) for text in texts]
    target = [_buckets(text) for text in validation_texts]
    difference = np.log(_distribution(target) + _SMOOTHING) - np.log(
        _distribution(pool) + _SMOOTHING
    )
    return np.array([difference[buckets].sum() for buckets in pool])


def _buckets(text: str) -> npt.NDArray[np.int64]:
    """Return the bucket of each unigram and bigram of a text."""
    words = _TOKEN.findall(text.lower())
    grams = words + [f"{first} {second}" for first, second in pairwise(words)]
    digests = [xxhash.xxh3_64_intdigest(gram.encode()) % BUCKETS for gram in grams]
    return np.array(digests, dtype=np.int64)


def _distribution(bags: Sequence[npt.NDArray[np.int64]]) -> Floats:
    counts = np.zeros(BUCKETS)
    for bag in bags:
        counts += np.bincount(bag, minlength=BUCKETS)
    if not counts.any():
        msg = "the texts contain no words, so DSIR has nothing to compare"
        raise MatrixError(msg)
    shares: Floats = counts / counts.sum()
    return shares
