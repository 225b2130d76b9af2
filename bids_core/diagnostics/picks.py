"""The composition of a selection along its pick order, and how selections overlap.

Shapes: N training rows, B picks, P points along the pick order.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xxhash

from bids_core.errors import MatrixError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

Ints = npt.NDArray[np.int64]


def along_picks(labels: Sequence[str | None], *, points: int = 20) -> pd.DataFrame:
    """Return how many of the first picks have each label: does one task dominate?

    Args:
        labels: B labels in pick order (task, source, capability); None for no label.
        points: number of budgets to evaluate, evenly spaced up to B.

    Returns:
        Frame with columns label, picks (how many first picks), count, share.
    """
    import pandas as pd

    names = list(dict.fromkeys(label for label in labels if label is not None))
    place = {name: index for index, name in enumerate(names)}
    budgets = _budgets(len(labels), points)
    counts = np.zeros((len(labels) + 1, len(names)), dtype=np.int64)
    for pick, label in enumerate(labels):
        if label is not None:
            counts[pick + 1, place[label]] = 1
    reached = counts.cumsum(axis=0)[budgets]
    return pd.DataFrame(
        {
            "label": pd.Series(names * len(budgets), dtype="str"),
            "picks": np.repeat(budgets, len(names)),
            "count": reached.ravel(),
            "share": (reached / budgets[:, None]).ravel(),
        }
    )


def utility_curve(utilities: npt.ArrayLike) -> pd.DataFrame:
    """Return how the utility falls along the picks, to show diminishing returns.

    Args:
        utilities: [B] in pick order.

    Returns:
        Frame with columns pick (from 1), utility, cumulative_share (of all positive utility; NaN if
        there is none).
    """
    import pandas as pd

    values = np.asarray(utilities, dtype=np.float64)
    gains = np.maximum(values, 0).cumsum()
    share = gains / gains[-1] if len(gains) and gains[-1] > 0 else np.full_like(gains, np.nan)
    return pd.DataFrame(
        {
            "pick": np.arange(1, len(values) + 1),
            "utility": values,
            "cumulative_share": share,
        }
    )


def overlap(selections: Mapping[str, npt.ArrayLike], *, points: int = 5) -> pd.DataFrame:
    """Return how much each pair of selections shares, at several budgets.

    Args:
        selections: row indices in pick order, by name.
        points: number of budgets to evaluate, evenly spaced up to the length of the shorter one.

    Returns:
        Frame with columns first, second, picks (of each), shared, jaccard (1 for equal sets).
    """
    import pandas as pd

    lines = []
    for (first, one), (second, other) in combinations(selections.items(), 2):
        rows, others = np.asarray(one), np.asarray(other)
        for budget in _budgets(min(len(rows), len(others)), points).tolist():
            shared = len(np.intersect1d(rows[:budget], others[:budget]))
            lines.append((first, second, budget, shared, shared / (2 * budget - shared)))
    return pd.DataFrame(lines, columns=["first", "second", "picks", "shared", "jaccard"])


def near_duplicates(
    texts: Sequence[str], *, threshold: float = 0.8, words: int = 5, common: int = 100
) -> pd.DataFrame:
    """Return pairs of texts that share most of their word n-grams.

    Args:
        texts: B texts, for example of the picks in pick order.
        threshold: lowest Jaccard index of the n-gram sets.
        words: length n of the n-grams; a shorter text counts as one n-gram.
        common: an n-gram in more texts than this (from a template) makes no pair a candidate; it
            still counts in the index of pairs found through other n-grams.

    Returns:
        Frame with columns first, second (indices into `texts`, first < second), jaccard; highest
        first.
    """
    import pandas as pd

    bags = [_shingles(text, words) for text in texts]
    holders: dict[int, list[int]] = {}
    for place, bag in enumerate(bags):
        for gram in bag:
            holders.setdefault(gram, []).append(place)
    candidates: set[tuple[int, int]] = set()
    for places in holders.values():
        if 1 < len(places) <= common:
            candidates.update(combinations(places, 2))
    identical: dict[frozenset[int], list[int]] = {}
    for place, bag in enumerate(bags):
        identical.setdefault(bag, []).append(place)
    for places in identical.values():  # identical texts are pairs, however common
        candidates.update((places[0], other) for other in places[1:])
    lines = []
    for first, second in candidates:
        index = len(bags[first] & bags[second]) / len(bags[first] | bags[second])
        if index >= threshold:
            lines.append((first, second, index))
    frame = pd.DataFrame(lines, columns=["first", "second", "jaccard"])
    return frame.sort_values(["jaccard", "first", "second"], ascending=[False, True, True],
                             ignore_index=True)  # fmt: skip


def labels_at(names: Sequence[str] | None, places: Iterable[int]) -> list[str | None]:
    """Return the name at each index; None if there are no names or the index is negative."""
    if names is None:
        return [None for _ in places]
    return [None if place < 0 else str(names[place]) for place in places]


def _shingles(text: str, words: int) -> frozenset[int]:
    """Return 64-bit hashes of the word n-grams: a fraction of the memory of the words."""
    tokens = text.lower().split()
    starts = range(max(1, len(tokens) - words + 1))
    grams = (" ".join(tokens[start : start + words]) for start in starts)
    return frozenset(xxhash.xxh3_64_intdigest(gram.encode()) for gram in grams)


def _budgets(largest: int, points: int) -> Ints:
    if largest < 1 or points < 1:
        msg = f"{points} points along {largest} picks were asked for"
        raise MatrixError(msg)
    return np.unique(np.ceil(np.linspace(0, largest, points + 1)[1:]).astype(np.int64))
