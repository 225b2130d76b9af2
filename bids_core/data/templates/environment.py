"""Jinja's sandbox, with the steps of every rendering counted.

Operators, calls, filters, tests and output are charged where Jinja lets a sandbox intercept them.
Where it does not, the template is rewritten before it is compiled
(`bids_core.data.templates.rewriting`). Constants are not folded at compile time, so nothing is
computed before counting starts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import Template, TemplateSyntaxError, nodes, pass_eval_context
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from bids_core.data.templates import costs
from bids_core.data.templates.rewriting import PAYING_FILTERS, PAYING_TESTS, Rewriter
from bids_core.data.templates.steps import PLAIN, metered, shallow, spend, weight

if TYPE_CHECKING:
    from jinja2.runtime import Context

NOT_COMPILED: Final = (
    TemplateSyntaxError, ValueError, OverflowError, RecursionError, MemoryError, SyntaxError,
)  # fmt: skip
"""What compiling a template can raise: it is not Jinja, or Python cannot compile the result."""
_LONGEST_TEMPLATE: Final = 1 << 20
_LONGEST_WIDTH: Final = 32
_SANDBOX: Final = "ImmutableSandboxedEnvironment"
_COMPILED: Final = "_compile_jinja_template"


class BoundedTemplate(Template):
    """A template whose renderings are counted."""

    @classmethod
    def _from_namespace(
        cls,
        environment: Any,
        namespace: Any,
        globals: Any,
    ) -> Template:
        template = super()._from_namespace(environment, namespace, globals)
        root = template.root_render_func

        def counted(context: Context) -> Iterator[str]:
            with metered(context.parent):
                yield from root(context)

        template.root_render_func = counted
        return template


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox that stops templates which exceed their steps (`TooManySteps`)."""

    template_class = BoundedTemplate
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimized = False  # the optimizer folds constants at compile time
        self.finalize = _printed
        del self.globals["lipsum"]  # endless text, and different each time
        self.filters = _Filters(self.filters)
        dict.update(self.filters, PAYING_FILTERS)
        self.tests = {**self.tests, **PAYING_TESTS}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > _LONGEST_TEMPLATE:
            msg = f"it is longer than {_LONGEST_TEMPLATE:,} characters"
            raise TemplateSyntaxError(msg, 1)
        return super()._parse(source, name, filename)

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None,
        defer_init: bool = False,
    ) -> str:  # fmt: skip
        rewritten = Rewriter().visit(source)
        rewritten.set_environment(self)
        return super()._generate(rewritten, name, filename, defer_init=defer_init)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Charge for an operator, and apply it."""
        del context
        if operator == "+" and type(left) is type(right) is str:  # the most common case
            result: str = left + right
            spend(1 + (len(result) >> 8))
            return result
        spend(1 + costs.binary(operator, left, right))
        return self.binop_table[operator](left, right)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Charge for a call, and make it."""
        owner = getattr(function, "__self__", None)
        cost: float
        if isinstance(owner, PLAIN):
            args = tuple(map(_settled, args))
            cost = costs.method(function.__name__, owner, (*args, *kwargs.values()))
        elif isinstance(function, LoopContext):  # a recursive loop iterates over its argument
            args, cost = tuple(map(costs.passes, args)), 0
        elif isinstance(function, Macro):
            cost = len(args)
        else:
            cost = costs.sum_of(args) + costs.sum_of(kwargs.values())
        spend(1 + cost)
        result = super().call(context, function, *args, **kwargs)
        spend(shallow(result))
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return `str.format` or `format_map`, charging for the widths in their fields."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text = value.__self__

        def bounded(*args: Any, **kwargs: Any) -> str:
            mapping = args[0] if value.__name__ == "format_map" and args else kwargs
            positional = () if value.__name__ == "format_map" else args
            # run only to charge: it pays field by field, and stops before a wide one is built
            _Payer(self).vformat(str(text), positional, cast("Mapping[str, Any]", mapping))
            return wrapped(*args, **kwargs)

        return functools.update_wrapper(bounded, wrapped)


class _Payer(SandboxedFormatter):
    """Walks a format's fields, and charges for each instead of writing it."""

    def format_field(self, value: Any, format_spec: str) -> str:
        spend(costs.format_spec(format_spec) + weight(value))
        nested = isinstance(value, str | int) and len(str(value)) < _LONGEST_WIDTH
        return str(value) if nested else ""  # it may be the width in another field's format

    def convert_field(self, value: Any, conversion: Any) -> Any:
        del conversion
        spend(weight(value))
        return value


class _Filters(dict[str, Any]):
    """Filters that charge, including any added later (transformers adds `tojson`)."""

    def __init__(self, filters: Mapping[str, Any]) -> None:
        super().__init__({name: _paid(name, function) for name, function in filters.items()})

    def __setitem__(self, name: str, function: Any) -> None:
        super().__setitem__(name, _paid(name, function))


def _paid(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    cost = costs.FILTERS.get(name, costs.slowly(1))
    lazy = cost is costs.nothing
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # a leading context or environment

    @functools.wraps(function)
    def paid(*args: Any, **kwargs: Any) -> Any:
        given, (value, *rest) = args[:first], args[first:]
        value = costs.passes(value) if lazy else _settled(value)
        spend(1 + cost(value, *rest, **kwargs))
        result = function(*given, value, *rest, **kwargs)
        spend(shallow(result))
        return costs.passes(result) if isinstance(result, Iterator) else result

    return paid


def _settled(value: Any) -> Any:
    """Turn an iterator, whose length is unknown, into a list."""
    return list(costs.passes(value)) if isinstance(value, Iterator) else value


@pass_eval_context  # so that Jinja does not print constants at compile time
def _printed(_: Any, value: Any) -> Any:
    spend(1 + (len(value) >> 8 if type(value) is str else weight(value)))
    return value


def bound_chat_templates() -> None:
    """Make transformers render all chat templates in this environment.

    It has no setting for this, so the sandbox class it uses is replaced; prompts of lm-eval and of
    our evaluation are covered too.

    Raises:
        RuntimeError: this version of transformers gets its sandbox from elsewhere.
    """
    from transformers.utils import chat_template_utils as theirs

    if getattr(theirs, _SANDBOX, None) is BoundedEnvironment:
        return
    if not hasattr(theirs, _SANDBOX) or not hasattr(theirs, _COMPILED):
        msg = (
            "this version of transformers compiles chat templates in another way, so their "
            "cost cannot be limited; install the version in constraints.txt"
        )
        raise RuntimeError(msg)
    setattr(theirs, _SANDBOX, BoundedEnvironment)
    getattr(theirs, _COMPILED).cache_clear()
