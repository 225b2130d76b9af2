"""The page of results: its tables are generated between two marks.

<!-- results: KIND ARGUMENTS -->
<!-- end -->
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .arms import ARMS, Label
from .pools import POOLS
from .summary import loss_table, markdown, mean_table, overall_table, picks_table, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .summary import Rows

_PLACE = re.compile(r"(<!-- results: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
_MEASURES = ("share_wrong", "precision_at_10", "precision_at_50", "precision_at_all", "auc")
_BUDGETS = (0.01, 0.03, 0.05, 0.1, 0.2)


def filled(text: str, results: dict[str, Rows]) -> str:
    """Return a page with its tables regenerated.

    Raises:
        KeyError: a mark names an unknown kind of table.
    """

    def table(found: re.Match[str]) -> str:
        kind, *arguments = found[2].split()
        return f"{found[1]}{markdown(_KINDS[kind](results, *arguments))}\n{found[3]}"

    return _PLACE.sub(table, text)


def _against(results: dict[str, Rows], other: str, kind: str = "methods") -> list[list[str]]:
    """Return lines: method, and its loss minus another method's in each pool and in all."""
    lines = [["method", *POOLS, "all"]]
    for method in _arms(results, kind):
        cells = [told(results["rows"], method, other, pool=pool) for pool in POOLS]
        if any(cells):
            lines.append([f"`{method}`", *cells, told(results["rows"], method, other)])
    return lines


def _overall(results: dict[str, Rows], kind: str = "methods") -> list[list[str]]:
    return overall_table(results["rows"], _arms(results, kind))


def _picks(results: dict[str, Rows], budget: str, kind: str = "methods") -> list[list[str]]:
    return picks_table(results["rows"], list(POOLS), _arms(results, kind), float(budget))


def _losses(results: dict[str, Rows], pool: str) -> list[list[str]]:
    return loss_table(results["rows"], pool, [arm for arm in ARMS if _known(results, arm)])


def _budgets(results: dict[str, Rows], pool: str) -> list[list[str]]:
    """Return lines: budget, and LESS and BIDS compared with each other and with random."""
    pairs = (("less", "random"), ("bids", "random"), ("bids", "less"))
    names = {"less": "LESS", "bids": "BIDS", "random": "random"}
    head = [f"{names[one]} minus {names[other]}" for one, other in pairs]
    lines = [["budget", *head, f"{head[-1]}, all pools"]]
    for budget in _BUDGETS:
        cells = [told(results["rows"], *pair, pool=pool, budget=budget) for pair in pairs]
        everywhere = told(results["rows"], *pairs[-1], budget=budget)
        lines.append([f"{budget:.0%}", *cells, everywhere])
    return lines


def _shapes(results: dict[str, Rows]) -> list[list[str]]:
    rows = sorted(results["columns"], key=lambda row: list(POOLS).index(row["pool"]))
    return mean_table(rows, ("pool",), ("skewness", "excess_kurtosis", "bimodality"))


def _audit(results: dict[str, Rows], pool: str, *among: str) -> list[list[str]]:
    chosen = [
        row
        for row in results["audit"]
        if row["pool"] == pool and row["among"] == " ".join(among)
    ]  # fmt: skip
    return mean_table(chosen, ("score",), _MEASURES)


def _arms(results: dict[str, Rows], kind: str) -> Sequence[str]:
    """Return the arms of a kind: `methods` and their normalisations, or `estimators`."""
    found = [arm for arm in ARMS if _known(results, arm)]
    other = [arm for arm in found if "@" in arm]
    if kind == "estimators":
        return [arm for arm in found if arm in ("bids", "less") or arm in other]
    return [arm for arm in found if arm not in other and Label.of(arm).method != "full"]


def _known(results: dict[str, Rows], arm: str) -> bool:
    return any(row["method"] == arm for row in results["rows"])


_KINDS: dict[str, Callable[..., Any]] = {
    "against": _against, "overall": _overall, "picks": _picks, "losses": _losses,
    "budgets": _budgets, "shapes": _shapes, "audit": _audit,
}  # fmt: skip
