"""Rewrites templates so that loops, comparisons, `~`, slices and keys are charged.

Jinja's sandbox intercepts only operators and calls. So before a template is compiled, every other
operation is wrapped in a filter that charges for it and passes its input on.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from bids_core.data.templates.costs import passes
from bids_core.data.templates.steps import shallow, spend, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NODES_A_STEP: Final = 16
# Names of the inserted filters; a name with a space cannot occur in a template.
_PASSES, _WEIGHED, _COPIED, _JOINED, _WITHIN, _SPENT = (
    f"bids {name}" for name in ("passes", "weighed", "copied", "joined", "within", "spent")
)
_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq, "eq": operator.eq, "equalto": operator.eq,
    "!=": operator.ne, "ne": operator.ne,
    ">": operator.gt, "gt": operator.gt, "greaterthan": operator.gt,
    ">=": operator.ge, "ge": operator.ge,
    "<": operator.lt, "lt": operator.lt, "lessthan": operator.lt,
    "<=": operator.le, "le": operator.le,
}  # fmt: skip


def _weighed(value: Any) -> Any:
    spend(weight(value))
    return value


def _copied(value: Any) -> Any:
    spend(1 + shallow(value))
    return value


def _joined(parts: tuple[Any, ...]) -> str:
    spend(1 + sum(map(weight, parts)))
    return "".join(map(str, parts))


def _within(item: Any, container: Any) -> bool:
    looked_up = isinstance(container, dict) and isinstance(item, str)
    spend(1 + (0 if looked_up else weight(container) + weight(item)))
    return item in container


def _spent(steps: int) -> str:
    spend(steps)
    return ""


PAYING_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    _PASSES: passes, _WEIGHED: _weighed, _COPIED: _copied, _JOINED: _joined,
    _WITHIN: _within, _SPENT: _spent,
}  # fmt: skip


def _compared(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(value: Any, other: Any) -> Any:
        spend(1 + weight(value) + weight(other))
        return test(value, other)

    return compare


PAYING_TESTS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _compared(test) for name, test in _COMPARISONS.items()},
    "in": _within,
    "lower": lambda value: str(_weighed(value)).islower(),
    "upper": lambda value: str(_weighed(value)).isupper(),
}


class Rewriter(NodeTransformer):
    """Inserts charging filters where Jinja's sandbox does not intercept."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Charge for each iteration, and for the literal text in the body."""
        self.generic_visit(node)
        node.iter = _filter(_PASSES, node.iter)
        _charge(node.body, node)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        """Charge for the literal text in the body at each call."""
        self.generic_visit(node)
        _charge(node.body, node)
        return node

    visit_CallBlock = visit_Block = visit_Macro

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Charge for a concatenation (`~`)."""
        self.generic_visit(node)
        return _filter(_JOINED, nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """Charge for a slice, and for a key that is not constant (it is hashed)."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(_COPIED, node.node)
        elif not isinstance(node.arg, nodes.Const):
            node.arg = _filter(_WEIGHED, node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        """Charge for a key that is not constant (it is hashed)."""
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _filter(_WEIGHED, node.key)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Charge for traversing both sides, unless one is a literal."""
        self.generic_visit(node)
        operand = node.ops[0]
        if len(node.ops) == 1 and operand.op in ("in", "notin"):
            if _is_plain(operand.expr) and isinstance(operand.expr, nodes.List | nodes.Tuple):
                return node
            within = _filter(_WITHIN, node.expr, operand.expr)
            return within if operand.op == "in" else nodes.Not(within, lineno=node.lineno)
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        if len(sides) == 2 and any(map(_is_plain, sides)):
            return node  # the comparison costs no more than the literal's length
        node.expr = _filter(_WEIGHED, node.expr)
        for operand in node.ops:
            operand.expr = _filter(_WEIGHED, operand.expr)
        return node


def _is_plain(node: nodes.Expr) -> bool:
    """Return whether an expression is a literal: a constant, or a list of constants."""
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const)


def _filter(name: str, value: Any, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno)


def _charge(body: list[nodes.Node], owner: nodes.Node) -> None:
    """Charge for a body's literal text each time it runs."""
    written = sum(len(data.data) for item in body for data in _find(item, nodes.TemplateData))
    parts = sum(1 for item in body for _ in _find(item, nodes.Node))
    steps = (written >> 8) + parts // _NODES_A_STEP
    if steps:
        line = owner.lineno
        body.insert(
            0, nodes.ExprStmt(_filter(_SPENT, nodes.Const(steps, lineno=line)), lineno=line)
        )


def _find(node: nodes.Node, kind: Any) -> Iterator[Any]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)
