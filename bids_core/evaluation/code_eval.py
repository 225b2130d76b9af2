"""A replacement for the metric `code_eval` of `evaluate` that runs programs in our sandbox.

lm-eval's HumanEval and MBPP load that metric on import; the original runs the model's programs with
the privileges of the evaluation itself. The replacement does not, and fetches nothing from the hub.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import numpy as np

from bids_core.sandbox import Limits, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HOLDERS: Final = {
    "lm_eval.tasks.humaneval.utils": "compute_",
    "lm_eval.tasks.mbpp.utils": "pass_at_k",
}
"""lm-eval modules that hold the metric -> the attribute's name."""


@dataclass(frozen=True, slots=True)
class SandboxedCodeEval:
    """Implements the one method of the metric that lm-eval calls.

    Args:
        limits: resource limits of one program.
    """

    limits: Limits = field(default_factory=Limits)

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1,),
        **_: object,
    ) -> tuple[dict[str, float], list[list[bool]]]:
        """Run each candidate with its tests; return pass@k, and which candidates passed."""
        passed = [
            [run_program(f"{answer}\n{tests}", limits=self.limits).passed for answer in answers]
            for answers, tests in zip(predictions, references, strict=True)
        ]
        rates = {
            f"pass@{at}": float(np.mean([pass_at_k(row, at) for row in passed]))
            for at in k
            if all(len(row) >= at for row in passed)
        }
        return rates, passed


def pass_at_k(passed: Sequence[bool], k: int) -> float:
    """Return the probability that one of `k` candidates, drawn without replacement, passes.

    Source: Chen et al. 2021 (HumanEval), eq. 1.
    """
    n, right = len(passed), sum(passed)
    if n - right < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - right + 1, n + 1)))


@contextlib.contextmanager
def sandboxed(limits: Limits) -> Iterator[None]:
    """Make lm-eval's coding tasks use the replacement, including those already loaded."""
    import evaluate

    metric, original = SandboxedCodeEval(limits), evaluate.load

    def load(path: str, *arguments: Any, **options: Any) -> Any:
        return metric if path == "code_eval" else original(path, *arguments, **options)

    with patch.object(evaluate, "load", load):
        yield
    for module, name in _HOLDERS.items():
        if module in sys.modules:
            setattr(sys.modules[module], name, metric)
