"""Which kinds of rows were picked, from a column of the data to the report."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from bids_core.config.load import load_config
from flows.select_data import select_data


@pytest.mark.usefixtures("prefect_server")
def test_a_column_of_the_data_is_broken_down_in_the_report(project):
    path = project / "pool" / "add.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = ["plain" if n % 2 else "<odd>" for n in range(len(rows))]
    path.write_text(
        "".join(
            json.dumps(row | {"kind": kind, "place": n}) + "\n"
            for n, (row, kind) in enumerate(zip(rows, kinds, strict=True))
        )
    )
    result = select_data(load_config(project / "bids.yaml"), until="selection")
    table = pd.read_parquet(result.folder / "analysis" / "breakdown.parquet")
    assert table["column"].unique().tolist() == ["kind"]  # a place of one's own is no kind
    pool = table[table["set"] == "pool"].set_index("value")["count"]
    assert pool.to_dict() == {"(none)": 12, "plain": 10, "<odd>": 10}
    for method in ("bids", "less", "random"):
        assert table[table["set"] == method]["count"].sum() == 6
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "Which kinds of rows were picked" in page
    assert "<odd>" not in page
    ranking = pd.read_parquet(result.folder / "ranking.parquet")
    assert "kind" in ranking
