from .harness import offline_and_quiet
from .metrics import METRICS
from .plan import EvaluationPlan, plan_tasks
from .rows import EvaluationRow
from .scores import ANSWER_LOSS, Evaluation, evaluate, evaluation_mode, macro_average, stop_ids

__all__ = [
    "ANSWER_LOSS",
    "METRICS",
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
