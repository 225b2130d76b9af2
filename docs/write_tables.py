"""Write the docs' tables of choices from the tables in the code: `python docs/write_tables.py`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A test holds that none is stale.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bids_core.evaluation import METRICS
from bids_core.gradients import TRAINING_FEATURES
from bids_core.normalization import NORMALIZATIONS
from bids_core.selection import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

_DOCS = Path(__file__).parent
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WORKS_ON = {"rds": "last-token states", "rds_plus": "weighted mean states"}


def methods() -> str:
    """Return the selection methods."""
    rows = []
    for name in METHODS:
        method = METHODS[name]
        if method.code is None:
            uses = [_WORKS_ON.get(method.needs, method.needs), *method.labels]
            uses += ["normalised"] * method.normalized + ["seeded"] * method.seeded
            rows.append([f"`{name}`", method.what, ", ".join(uses), _source(method.doc)])
    return _table(["name", "picks", "works on", "source"], rows)


def normalizations() -> str:
    """Return the normalisations."""
    rows = [[f"`{n}`", e.center, e.scale, e.advice] for n, e in NORMALIZATIONS.items()]
    return _table(["name", "center", "scale", "use it when"], rows)


def features() -> str:
    """Return the training features."""
    rows = [
        [
            f"`{name}`",
            feature.what,
            f"`{feature.validation or name}`",
            ", ".join(f"`gradients.{option}`" for option in feature.options),
            f"{feature.passes:.2g}" + (" and a fit" if feature.curvature else ""),
        ]
        for name, feature in TRAINING_FEATURES.items()
    ]
    return _table(["name", "feature", "for validation", "reads", "passes a row"], rows)


def metrics() -> str:
    """Return the metrics of test tasks."""
    rows = [[f"`{name}`", metric.what, metric.needs] for name, metric in METRICS.items()]
    return _table(["metric", "what counts", "needs"], rows)


TABLES = {
    "methods": methods,
    "normalizations": normalizations,
    "features": features,
    "metrics": metrics,
}


def written(text: str) -> str:
    """Return a page with its tables as they are now."""
    return _PLACE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def _source(doc: str) -> str:
    found = re.search(r"Source:\s+(.*)", doc, re.DOTALL)
    return " ".join(found[1].split()).rstrip(".") if found else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    for page in sorted(_DOCS.glob("*.md")):
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
