"""Choices that a table lists: checked, named in the message, and in the schema of forms."""

from __future__ import annotations

import pytest

from bids_core.config import RunConfig
from bids_core.config.load import check_config
from bids_core.data import FORMATS
from bids_core.errors import ConfigError

BASE = {
    "model": {"path": "m"},
    "validation": [{"path": "v", "task": "t", "capability": "c"}],
}


def test_every_format_of_the_table_can_be_chosen():
    for name in ("auto", *FORMATS):
        config = check_config(BASE | {"pool": [{"path": "p", "format": name}]})
        assert config.pool[0].format == name


def test_another_one_is_refused_with_the_choices():
    with pytest.raises(
        ConfigError, match=r"pool\.0\.format: unknown format 'csv': known: auto.*alpaca"
    ):
        check_config(BASE | {"pool": [{"path": "p", "format": "csv"}]})


def test_forms_and_editors_list_them():
    schema = RunConfig.model_json_schema()["$defs"]["SourceConfig"]["properties"]["format"]
    assert schema["enum"] == ["auto", *FORMATS]
    assert schema["default"] == "auto"
