"""Methods compared on the same test rows: intervals, ranks, balance, costs, and what they mean."""

from bids_core.comparison.bootstrap import Interval, holm, paired_interval, paired_intervals
from bids_core.comparison.compare import Comparison, compare, suite_table
from bids_core.comparison.results import Arm, Results
from bids_core.comparison.words import conclusions

__all__ = [
    "Arm", "Comparison", "Interval", "Results", "compare",
    "conclusions", "holm", "paired_interval", "paired_intervals", "suite_table",
]  # fmt: skip
