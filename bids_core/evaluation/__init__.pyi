from .cache import CachePlan, cache_plan
from .metrics import METRICS
from .plan import EvaluationPlan, plan_tasks
from .rows import EvaluationRow
from .scores import ANSWER_LOSS, Evaluation, evaluate, evaluation_mode, macro_average, stop_ids
from .suites.quiet import offline_and_quiet

__all__ = [
    "ANSWER_LOSS",
    "METRICS",
    "CachePlan",
    "Evaluation",
    "EvaluationPlan",
    "EvaluationRow",
    "cache_plan",
    "evaluate",
    "evaluation_mode",
    "macro_average",
    "offline_and_quiet",
    "plan_tasks",
    "stop_ids",
]
