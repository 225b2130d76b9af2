from .loading import LoadedTask, load_suite_task
from .model import SuiteModel
from .scores import evaluate_suite_task, suite_averages
from .tasks import SUITES, SuiteTask, chosen_tasks

__all__ = [
    "SUITES",
    "LoadedTask",
    "SuiteModel",
    "SuiteTask",
    "chosen_tasks",
    "evaluate_suite_task",
    "load_suite_task",
    "suite_averages",
]
