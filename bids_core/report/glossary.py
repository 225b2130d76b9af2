"""The project's terms in one line each, and what to cite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bids_core.own_code import is_own
from bids_core.selection import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable

GLOSSARY: Final = {
    "training pool": "The instruction examples to choose from.",
    "validation instance": (
        "One example of what the model should be good at. It belongs to one task, a task to one "
        "capability."
    ),
    "warmup checkpoint": (
        "The model's adapter and optimizer state at the end of an epoch of a short training "
        "run. Gradients are computed at these checkpoints."
    ),
    "checkpoint weight": (
        "The weight of a checkpoint in the influence: the mean learning rate of its epoch, "
        "normalised to sum 1."
    ),
    "projected gradient": (
        "A random projection of one example's gradient, short enough to store, that keeps inner "
        "products on average."
    ),
    "attribution matrix": (
        "Influence of each training example (row) on each validation instance (column): the "
        "weighted sum over checkpoints of the cosine of their projected gradients."
    ),
    "budget": "How many examples to select: a count, or a fraction of the pool.",
    "utility": (
        "The value of a pick when it was made. For BIDS: its highest normalised influence on "
        "a validation instance, minus the mean influence of the earlier picks on that "
        "instance."
    ),
    "winning instance": "The validation instance that decided a pick.",
    "AID": (
        "Average influence distribution: the mean influence of a set of training examples on each "
        "validation instance. Uneven means that some tasks are served better than others."
    ),
    "THI": (
        "Task frequency with highest influence: for each task, how many examples of a set "
        "have their highest influence on it."
    ),
    "z-score": (
        "Influence in standard deviations from the column's mean over the pool, so that every "
        "validation instance is on the same scale."
    ),
    "answer loss": (
        "Mean cross-entropy (in nats) of the reference answer's tokens. It changes before "
        "accuracy does; lower is better."
    ),
    "majority": "The score of always giving a task's most frequent answer.",
    "zero-shot": "The base model without any training.",
    "macro average": "The mean over tasks; every task counts the same, however many rows it has.",
    "standard error": (
        "The typical distance between the score on this many test rows and the score on "
        "infinitely many."
    ),
}

CITATIONS: Final = """\
@article{dai2025bids,
  title   = {Improving Influence-based Instruction Tuning Data Selection for
             Balanced Learning of Diverse Capabilities},
  author  = {Dai, Qirun and Zhang, Dylan and Ma, Jiaqi W. and Peng, Hao},
  journal = {arXiv preprint arXiv:2501.12147},
  year    = {2025}
}

@inproceedings{xia2024less,
  title     = {{LESS}: Selecting Influential Data for Targeted Instruction Tuning},
  author    = {Xia, Mengzhou and Malladi, Sadhika and Gururangan, Suchin and
               Arora, Sanjeev and Chen, Danqi},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2024}
}
"""


def anchor(name: str) -> str:
    """Return the id of a term's entry on the page."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def method_terms(methods: Iterable[str]) -> dict[str, str]:
    """Return what each known method on a page does, by its label."""
    known = [METHODS[name] for name in methods if name in METHODS and not is_own(name)]
    return {method.label: f"Selection method: {method.what}." for method in known if method.what}
