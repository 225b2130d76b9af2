from .harness import offline_and_quiet
from .plan import EvaluationPlan, plan_tasks
from .rows import EvaluationRow
from .scores import ANSWER_LOSS, Evaluation, evaluate, evaluation_mode, macro_average, stop_ids

__all__ = [
    "ANSWER_LOSS",
    "Evaluation",
    "EvaluationPlan",
    "EvaluationRow",
    "evaluate",
    "evaluation_mode",
    "macro_average",
    "offline_and_quiet",
    "plan_tasks",
    "stop_ids",
]
