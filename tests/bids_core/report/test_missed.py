"""What was not picked, and which picks cover it."""

from dataclasses import replace

import numpy as np

from bids_core.diagnostics import coverage
from bids_core.report import build_report
from bids_core.report.missed import missed_section
from bids_core.selection import select


def test_near_misses_are_the_next_picks(inputs):
    section = missed_section(inputs)
    longer = select(inputs.attribution, 18, tasks=inputs.tasks).indices[8:]
    assert [line["row_id"] for line in section["near"]] == [f"pool:{row}" for row in longer]
    picked = inputs.selections["bids"]["row_id"].tolist()
    for line in section["near"]:
        assert picked[int(line["cover_rank"]) - 1] == line["cover"]
    page = build_report(inputs)
    assert 'id="missed"' in page
    assert f"#row={section['near'][0]['cover'].replace(':', '%3A')}" in page


def test_what_less_takes_is_shown_whether_or_not_it_ran(inputs):
    picked = set(inputs.selections["bids"]["row_id"])
    wanted = [row for row in inputs.selections["less"]["row_id"] if row not in picked]
    alone = replace(inputs, selections={"bids": inputs.selections["bids"]})
    for given in (inputs, alone):
        section = missed_section(given)
        assert [line["row_id"] for line in section["less"]] == wanted[:10]
        assert section["less_total"] == str(len(wanted))
    rows = [int(row.partition(":")[2]) for row in wanted]
    chosen = [int(row.partition(":")[2]) for row in inputs.selections["bids"]["row_id"]]
    found = coverage(inputs.attribution, chosen, rows)
    assert section["less"][0]["cover"] == f"pool:{found['covered_by'].iloc[0]}"


def test_methods_without_comparable_worth_have_no_near_misses(inputs):
    section = missed_section(replace(inputs, main_method="random"))
    assert section["near"] == []
    assert section["less"]
    assert section["last"] == ""


def test_nothing_is_missed_where_all_was_picked(inputs):
    whole = select(inputs.attribution, 40, tasks=inputs.tasks).to_frame(
        inputs.row_ids, inputs.sources, inputs.validation_ids, inputs.tasks
    )
    assert len(np.unique(whole["row_id"])) == 40
    assert missed_section(replace(inputs, selections={"bids": whole})) is None
