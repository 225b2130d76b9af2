"""One self-contained HTML file that says what was selected, why, and whether it helped.

Read in this order: `inputs` (what it is made from), the sections by name (`scores`, `influence`,
`picks`, `missed`, ...: the numbers of each part), `grids` (tables) and `figures` (inline SVG), both
with the looks of `names`; `browse` and `packed` (all picks, in the page), `page` (templates).
`analysis_page` makes the same page from a matrix alone, `comparison_page` that of a comparison.
What the scores mean is said by `bids_core.comparison`.
"""

from __future__ import annotations

from bids_core.report.analysis_page import write_analysis
from bids_core.report.inputs import ReportInputs
from bids_core.report.page import build_report, write_report

__all__ = ["ReportInputs", "build_report", "write_analysis", "write_report"]
