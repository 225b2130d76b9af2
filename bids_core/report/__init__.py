"""One self-contained HTML file that says what was selected, why, and whether it helped.

Read in this order: `inputs` (the report's inputs), the section modules (`scores`, `influence`,
`picks`, `missed`, ...: the numbers of each section), `grids` (tables) and `figures` (inline SVG),
both with colours and markers from `names`; `browse` and `packed` (all picks, in the page), `page`
(templates). `analysis_page` makes the same page from a matrix alone, `comparison_page` the page of
a comparison. `bids_core.comparison` interprets the scores.
"""

from __future__ import annotations

from bids_core.report.analysis_page import write_analysis
from bids_core.report.inputs import ReportInputs
from bids_core.report.page import build_report, write_report

__all__ = ["ReportInputs", "build_report", "write_analysis", "write_report"]
