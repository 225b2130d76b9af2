"""Another estimator is one line of the configuration."""

from __future__ import annotations

import numpy as np
import pytest

from bids_core.influence.stored import open_attribution


@pytest.mark.parametrize(
    "line",
    ["train_feature=rds_plus", "train_feature=ekfac", "metric=fisher", "layers=1"],
)
def test_an_estimator_is_one_line(project, prefect_server, bids, line):
    settings = [
        "--set",
        f"gradients.{line}",
        "--set",
        "selection.compare=[]",
        "--until",
        "selection",
    ]
    status, _, err = bids("run", "bids.yaml", *settings)
    assert status == 0, err
    (folder,) = (project / ".bids" / "attribution").glob("*/attribution.zarr")
    matrix = open_attribution(folder).values()
    assert matrix.shape == (32, 9)
    assert np.abs(matrix).max() <= 1.001
    assert matrix.std() > 0
