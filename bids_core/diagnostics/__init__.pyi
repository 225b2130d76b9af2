from .analysis import Analysis, analyze
from .influence import (
    aid_imbalance,
    aid_table,
    average_influence_distribution,
    task_highest_influence,
)
from .plots import figures, write_page

__all__ = [
    "Analysis",
    "aid_imbalance",
    "aid_table",
    "analyze",
    "average_influence_distribution",
    "figures",
    "task_highest_influence",
    "write_page",
]
