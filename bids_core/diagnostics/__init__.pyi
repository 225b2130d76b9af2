from .analysis import Analysis, analyze
from .audit import Audit, audit_pool, near_misses
from .audit_words import audit_words
from .coverage import coverage
from .datamodel import Datamodel, Outcomes, fit_datamodel
from .datamodel_words import datamodel_words
from .explain import Explanation
from .harmful import harmful_rows
from .held_out import completion_losses
from .influence import (
    aid_imbalance,
    aid_table,
    average_influence_distribution,
    task_highest_influence,
)
from .rank_correlation import Estimate, mean_known, resampled_spearman, spearman
from .single_steps import StepSettings, measure_steps
from .trust import Trust, assess, trust_words

__all__ = [
    "Analysis",
    "Audit",
    "Datamodel",
    "Estimate",
    "Explanation",
    "Outcomes",
    "StepSettings",
    "Trust",
    "aid_imbalance",
    "aid_table",
    "analyze",
    "assess",
    "audit_pool",
    "audit_words",
    "average_influence_distribution",
    "completion_losses",
    "coverage",
    "datamodel_words",
    "fit_datamodel",
    "harmful_rows",
    "mean_known",
    "measure_steps",
    "near_misses",
    "resampled_spearman",
    "spearman",
    "task_highest_influence",
    "trust_words",
]
