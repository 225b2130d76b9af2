"""Standard benchmarks by name: their lm-eval tasks, number of few-shot examples, and score.

`bids7` is the evaluation of the BIDS paper, `less3` that of LESS. Prompts, filters and metrics are
lm-eval's; this file sets the number of few-shot examples, where lm-eval leaves it open, and which
metric is a task's score. A task of a suite may consist of several lm-eval tasks (57 subjects of
MMLU): `by_size` weights them by their rows, like lm-eval's groups; otherwise all have equal weight,
as when LESS averages TyDi QA's languages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from bids_core.config import EvaluationConfig, TestTask

VERSION: Final = 1
"""To be raised when a suite's scores change for the same lm-eval version."""


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task of a suite.

    Args:
        name: its name in results.
        capability: its capability in the papers.
        data: hub repository of its dataset.
        tasks: lm-eval's tasks, groups or tags.
        metric: lm-eval's `metric,filter`.
        few_shot: examples in the prompt.
        chat_tasks: lm-eval's tasks for prompts in the chat template, if different.
        chat_metric: their metric, if different.
        by_size: whether to weight lm-eval's tasks by their rows.
        runs_code: whether it runs programs written by the model.
        needs: required packages beyond lm-eval, and the extra that installs them.
    """

    name: str
    capability: str
    data: str
    tasks: tuple[str, ...]
    metric: str
    few_shot: int
    chat_tasks: tuple[str, ...] = ()
    chat_metric: str | None = None
    by_size: bool = True
    runs_code: bool = False
    needs: tuple[tuple[str, ...], str] = ((), "")

    def variant(self, *, chat: bool) -> tuple[tuple[str, ...], str]:
        """Return lm-eval's tasks and metric, for prompts with or without the chat template."""
        if not chat:
            return self.tasks, self.metric
        return self.chat_tasks or self.tasks, self.chat_metric or self.metric


_HUMAN_EVAL: Final = SuiteTask(
    "humaneval", "coding", "openai/openai_humaneval", ("humaneval",), "pass@1,create_test", 0,
    chat_tasks=("humaneval_instruct",), runs_code=True,
)  # fmt: skip
_MBPP: Final = SuiteTask(
    "mbpp", "coding", "google-research-datasets/mbpp", ("mbpp",), "pass_at_1,none", 3,
    chat_tasks=("mbpp_instruct",), chat_metric="pass_at_1,extract_code", runs_code=True,
)  # fmt: skip
_BBH: Final = SuiteTask(
    "bbh", "logic", "SaylorTwift/bbh", ("bbh_cot_fewshot",), "exact_match,get-answer", 3
)
_MMLU: Final = SuiteTask("mmlu", "knowledge", "cais/mmlu", ("mmlu",), "acc,none", 5)
_GSM_PLUS: Final = SuiteTask(
    "gsm_plus", "math", "qintongli/GSM-Plus", ("gsm_plus",), "exact_match,flexible-extract", 5
)
_MATH: Final = SuiteTask(
    "math",
    "math",
    "EleutherAI/hendrycks_math",
    tuple(
        f"minerva_math_{subject}"
        for subject in (
            "algebra", "counting_and_prob", "geometry", "intermediate_algebra", "num_theory",
            "prealgebra", "precalc",
        )
    ),
    "math_verify,none",
    4,
    needs=(("antlr4", "math_verify", "sympy"), "math"),
)  # fmt: skip
_IFEVAL: Final = SuiteTask(
    "ifeval", "instruction_following", "google/IFEval", ("ifeval",),
    "prompt_level_strict_acc,none", 0,
    needs=(("immutabledict", "langdetect", "nltk", "punkt"), "ifeval"),
)  # fmt: skip
_TYDI_QA: Final = SuiteTask(
    "tydiqa", "multilingual_qa", "google-research-datasets/tydiqa", ("tydiqa_goldp",), "f1,none", 1,
    by_size=False,
)  # fmt: skip

SUITES: Final = {
    "bids7": (_HUMAN_EVAL, _MBPP, _BBH, _MMLU, _GSM_PLUS, _MATH, _IFEVAL),
    "less3": (_MMLU, _TYDI_QA, _BBH),
}
"""Tasks of each suite; MMLU and BBH are the same in both, and evaluated once."""


def chosen_tasks(settings: EvaluationConfig, own: tuple[TestTask, ...] = ()) -> list[SuiteTask]:
    """Return the suite tasks that a configuration selects, without duplicates.

    Args:
        settings: the suites, and optionally a subset of their tasks.
        own: the user's test tasks.

    Raises:
        ConfigError: a task is not in any of the suites, runs code although that is not allowed, or
            has the same name as one of the user's own tasks.
    """
    known = {task.name: task for name in settings.suites for task in SUITES[name]}
    asked = settings.suite_tasks if settings.suite_tasks is not None else tuple(known)
    for name in asked:
        if name not in known:
            msg = (
                f"evaluation.suite_tasks: {name!r} is not a task of the suites "
                f"({', '.join(settings.suites) or 'none is chosen'}); their tasks are "
                f"{', '.join(known) or 'none'}"
            )
            raise ConfigError(msg)
    tasks = [task for name, task in known.items() if name in asked]
    for entry in own:
        if entry.task in {task.name for task in tasks}:
            msg = (
                f"test task {entry.task!r} has the same name as a task of evaluation.suites; "
                "rename it, or leave out the suite's task with evaluation.suite_tasks"
            )
            raise ConfigError(msg)
    coding = [task.name for task in tasks if task.runs_code]
    if coding and not settings.run_generated_code:
        msg = (
            f"the suites' {', '.join(coding)} run programs written by the model; set "
            "evaluation.run_generated_code: true (they run in a sandbox), or choose others "
            "with evaluation.suite_tasks"
        )
        raise ConfigError(msg)
    return tasks
