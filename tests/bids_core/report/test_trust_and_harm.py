"""The sections on trust in influence and on rows that hurt."""

from dataclasses import replace

import numpy as np
import pytest

from bids_core.diagnostics.audit import audit_pool
from bids_core.diagnostics.trust import assess
from bids_core.report import build_report
from bids_core.report.harmful import harmful_section
from bids_core.report.trust import trust_section


@pytest.fixture
def measured(inputs):
    rng = np.random.default_rng(0)
    truth = 1e-3 * rng.standard_normal((30, 10))
    trust = assess(
        truth,
        {"first_order": truth, "run": truth + 1e-3 * rng.standard_normal((30, 10))},
        losses_M=np.full(10, 2.0),
        tasks=inputs.tasks,
        validation_ids=inputs.validation_ids,
        draws=100,
    )
    subsets = {"validation": {"words": ["Summed influence explains <nothing>."]}}
    steps = trust.to_dict() | {"checkpoint": 2}
    return replace(inputs, validation={"steps": steps, "subsets": subsets}), trust


def test_trust_is_shown_where_it_was_measured(measured, inputs):
    given, trust = measured
    section = trust_section(given)
    assert [line["name"] for line in section["lines"]] == [
        "the step's own first order", "the model's dtype in the run",
    ]  # fmt: skip
    assert section["lines"][1]["value"] == f"{trust.main.value:.2f}"
    assert section["lines"][1]["cost"]["value"] == f"{trust.costs['run'].value:.2f}"
    page = build_report(given)
    assert 'href="#trust"' in page
    assert "checkpoint</a> 2" in page
    assert "&lt;nothing&gt;" in page
    assert trust_section(inputs) is None
    assert "Can the influence be trusted?" not in build_report(inputs)


def test_a_sample_that_is_too_small_shows_no_table(measured):
    given, _ = measured
    steps = dict(given.validation["steps"]) | {"words": ["3 rows are too few."]}
    given = replace(given, validation={"steps": steps})
    assert trust_section(given)["lines"] == []
    assert "3 rows are too few." in build_report(given)


def test_rows_that_hurt_are_those_of_the_audit_and_say_whether_they_were_picked(inputs):
    values = np.array(inputs.attribution)
    worst = inputs.row_ids.index(inputs.selections["bids"]["row_id"].iloc[0])
    values[worst] = -9
    given = replace(inputs, attribution=values)
    section = harmful_section(given)
    found = audit_pool(values, inputs.tasks)
    first = section["reasons"][0]
    assert first["name"] == "likely wrong"
    assert first["rows"] == str(found.counts["likely_wrong"])
    assert first["lines"][0]["row_id"] == inputs.row_ids[worst]
    assert first["lines"][0]["picked"] == "yes"
    assert "Rows that hurt" in build_report(given)


def test_a_pool_without_a_harmful_row_says_so(inputs):
    values = np.zeros((40, 10), dtype=np.float32)
    values[::2] = 1.0  # two kinds of rows, a standard deviation from the mean
    section = harmful_section(replace(inputs, attribution=values))
    assert section["words"] == ["No row stands out as harmful to the tasks."]
    assert section["reasons"] == []
