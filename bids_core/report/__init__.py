"""One self-contained HTML file that says what was selected, why, and whether it helped.

Read in this order: `inputs` (what it is made from), `headline` (the plain-words paragraph),
`sections` (the numbers of each part), `figures` (inline SVG), `page` (templates).
"""

from __future__ import annotations

from bids_core.report.headline import headline
from bids_core.report.inputs import ReportInputs
from bids_core.report.page import build_report

__all__ = ["ReportInputs", "build_report", "headline"]
