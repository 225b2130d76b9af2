"""One self-contained HTML file that says what was selected, why, and whether it helped.

Read in this order: `inputs` (what it is made from), the sections by name (`scores`, `influence`,
`picks`, ...: the numbers of each part), `figures` (inline SVG), `page` (templates). What the scores
mean is said by `bids_core.comparison`.
"""

from __future__ import annotations

from bids_core.report.inputs import ReportInputs
from bids_core.report.page import build_report

__all__ = ["ReportInputs", "build_report"]
