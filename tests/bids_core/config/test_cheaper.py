from __future__ import annotations

import pytest

from bids_core.config import RunConfig


def config(**sections):
    content = {
        "model": {"path": "m"},
        "pool": [{"path": "p"}],
        "validation": [{"task": "t", "capability": "c", "path": "v"}],
    }
    return RunConfig.model_validate(content | sections)


def test_checkpoints_are_put_in_order():
    assert config(gradients={"checkpoints": [3, 1]}).gradients.checkpoints == (1, 3)
    assert config().gradients.checkpoints is None


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"gradients": {"checkpoints": []}}, "leaves no checkpoint"),
        ({"gradients": {"checkpoints": [1, 1]}}, "names a checkpoint twice"),
        ({"gradients": {"checkpoints": [0]}}, "greater than or equal to 1"),
        ({"warmup": {"epochs": 2, "stop_after": 3}}, "3 is more than the 2 epochs"),
        (
            {"warmup": {"checkpoints": ["x"], "stop_after": 1}},
            "choose among its checkpoints with gradients.checkpoints",
        ),
        ({"screen": {"by": "bids"}}, "bids needs the influence itself; screen by .*bm25"),
        ({"screen": {"by": "random"}}, "random ignores the rows"),
        ({"screen": {"by": "bm52"}}, "bm25"),
        ({"screen": {"by": "bm25", "keep": 0}}, "greater than 0"),
        ({"screen": {"by": "landmarks"}}, "needs landmarks.rows"),
        ({"screen": {"by": "bm25"}, "landmarks": {"rows": 9}}, "works alone or with"),
        ({"landmarks": {"rows": 9}, "gradients": {"metric": "dot"}}, "use cosine"),
    ],
)
def test_what_does_not_fit_is_refused(sections, message):
    with pytest.raises(ValueError, match=message):
        config(**sections)
