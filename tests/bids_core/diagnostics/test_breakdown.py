from __future__ import annotations

import json

import numpy as np

from bids_core.diagnostics.breakdown import MISSING, breakdown, few_valued


def test_counted_by_hand():
    kinds = ["good", "bad", "good", "good", "odd", "bad"]
    found = breakdown({"kind": kinds}, {"bids": np.array([0, 3, 4]), "none": np.array([], int)})
    rows = found.set_index(["value", "set"])
    assert found["value"].drop_duplicates().tolist() == ["good", "bad", "odd"]
    assert rows.loc[("good", "pool"), "count"] == 3
    assert rows.loc[("good", "bids"), "count"] == 2
    assert rows.loc[("good", "bids"), "share"] == 2 / 3
    assert rows.loc[("good", "bids"), "lift"] == (2 / 3) / (3 / 6)
    assert rows.loc[("bad", "bids"), ["count", "share", "lift"]].tolist() == [0, 0.0, 0.0]
    assert rows.loc[("odd", "bids"), "lift"] == (1 / 3) / (1 / 6)
    assert (rows.xs("none", level="set")["share"] == 0).all()
    assert (rows.xs("pool", level="set")["lift"] == 1).all()


def test_only_columns_with_a_few_plain_values_are_counted():
    extras = [
        json.dumps(
            {
                "kind": "a" if n % 2 else "b",
                "same": "x",
                "id": n,
                "checked": n < 3,
                "score": None if n == 0 else 1.5,
                "tags": ["x"],
                "blank": "" if n else "y",
            }
        )
        for n in range(20)
    ]
    found = few_valued(extras)
    assert list(found) == ["kind", "checked", "score", "blank"]
    assert found["checked"][:4] == ["true", "true", "true", "false"]
    assert found["score"][:2] == [MISSING, "1.5"]
    assert found["blank"][:2] == ["y", MISSING]
    assert few_valued(extras, most=30)["id"][3] == "3"


def test_rows_without_further_columns_count_as_such():
    assert few_valued([None, None]) == {}
    assert few_valued([None, json.dumps({"kind": "a"})]) == {"kind": [MISSING, "a"]}
    assert breakdown({}, {"bids": np.array([0])}).empty
