"""One reading of budgets, in configurations, in overrides and in schemas."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from bids_core.config import Budget, RunConfig
from bids_core.config.budget import parse_budget

GOOD = [
    (500, 500), ("500", 500), ("+5", 5), ("1_000", 1000), (1, 1), (0.15, 0.15), ("0.15", 0.15),
    ("15%", 0.15), (" 15 % ", 0.15), ("2.5%", 0.025), ("100%", 1.0), (1.0, 1.0), ("1.0", 1.0),
    ("1e-2", 0.01),
]  # fmt: skip
BAD = ["", "%", "many", "0", 0, -3, "-3", "0%", "150%", 1.5, "500.0", 0.0, -0.1, "nan", "inf", "%5"]


@pytest.mark.parametrize(("written", "meant"), GOOD)
def test_what_can_be_written(written, meant):
    for found in (parse_budget(written), TypeAdapter(Budget).validate_python(written)):
        assert found == meant
        assert type(found) is type(meant)


@pytest.mark.parametrize("written", BAD)
def test_what_can_not(written):
    with pytest.raises(ValueError, match="count|fraction"):
        parse_budget(written)
    with pytest.raises(ValidationError):
        TypeAdapter(Budget).validate_python(written)


@pytest.mark.parametrize("written", [True, None, [1]])
def test_other_things_are_the_models_to_refuse(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Budget).validate_python(written)


def test_forms_and_editors_take_a_percentage():
    schema = Draft202012Validator(TypeAdapter(Budget).json_schema())
    for written in (500, 0.15, "15%", "2.5 %"):
        assert schema.is_valid(written)
    for written in (0, 1.5, "many", True):
        assert not schema.is_valid(written)
    written = TypeAdapter(Budget).json_schema(mode="serialization")
    assert {one["type"] for one in written["anyOf"]} == {"number", "integer"}


def test_a_configuration_with_a_percentage_is_that_with_a_fraction():
    content = {
        "model": {"path": "m"}, "pool": [{"path": "p"}],
        "validation": [{"path": "v", "task": "t", "capability": "c"}],
    }  # fmt: skip
    one, other = (
        RunConfig.model_validate(content | {"selection": {"budget": budget}})
        for budget in ("15%", 0.15)
    )
    assert one == other
    assert one.model_dump(mode="json")["selection"]["budget"] == 0.15
