"""Methods compared on the same test rows: intervals, ranks, balance, costs, and what they mean.

A run is a comparison of one budget and one seed: both are judged by the same functions.

Read in this order: `results` (the scores of all rows), `statistics` (intervals), `needed` (how much
more data would decide), `compare` (the tables), `findings` (how two methods compare), `words` (the
same in sentences), `verdict` (all of it in one object).
"""

from bids_core.comparison.compare import Comparison, compare, suite_table
from bids_core.comparison.findings import Finding
from bids_core.comparison.needed import Needed, needed
from bids_core.comparison.results import Arm, Results
from bids_core.comparison.statistics import Interval, holm, paired_interval, paired_intervals
from bids_core.comparison.verdict import Badge, Verdict, judge

__all__ = [
    "Arm", "Badge", "Comparison", "Finding", "Interval", "Needed", "Results", "Verdict", "compare",
    "holm", "judge", "needed", "paired_interval", "paired_intervals", "suite_table",
]  # fmt: skip
