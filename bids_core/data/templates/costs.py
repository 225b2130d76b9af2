"""The cost in steps of a template's operators, methods and filters, computed before they run.

Only operations whose result can be much larger than their input are listed: widths, repetitions,
replacements, indents, products. Everything else costs its input and output
(`bids_core.data.templates.environment`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.templates.steps import (
    SEQUENCE,
    TEXT,
    TooManySteps,
    characters,
    shallow,
    spend,
    weight,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Cost = Callable[..., float]

_LONGEST_NUMBER: Final = 1 << 16
"""Bits of the largest integer computed; Python prints at most 4300 digits, about 14,000 bits."""
_DIGITS: Final = re.compile(r"\d+")
_PRINTF: Final = re.compile(rb"%|\*|\d+")


def binary(operator: str, left: Any, right: Any) -> float:
    """Return the steps of an operator.

    Raises:
        TooManySteps: the result is a number of more than 64 Ki bits.
    """
    if operator == "+":
        return shallow(left) + shallow(right)
    if operator == "%":
        return printf(left, right) if isinstance(left, TEXT) else 0
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * (right if operator == "**" else 1)
        if bits + (right.bit_length() if operator == "*" else 0) > _LONGEST_NUMBER:
            msg = f"a number of {bits:,} bits"
            raise TooManySteps(msg)
        return 0
    if operator == "*":
        thing, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(thing, TEXT) and isinstance(times, int):
            return characters(len(thing) * times)
        if isinstance(thing, list | tuple) and isinstance(times, int):
            return max(len(thing) * times, 0) / 8
    return 0


def printf(pattern: Any, values: Any) -> float:
    """Return the steps of `pattern % values`: its widths, plus all values for each placeholder."""
    raw = pattern if isinstance(pattern, bytes | bytearray) else str(pattern).encode()
    found = _PRINTF.findall(raw)
    widths = sum(_bounded(number) for number in found if number not in (b"%", b"*"))
    if b"*" in found and isinstance(values, tuple):
        widths += sum(abs(value) for value in values if isinstance(value, int))
    return characters(len(raw) + widths) + found.count(b"%") * weight(values)


def format_spec(spec: str) -> float:
    """Return the steps of a format specification (`>20`)."""
    return 1 + characters(sum(map(_bounded, _DIGITS.findall(spec))))


def _bounded(digits: str | bytes) -> int:
    return int(digits) if len(digits) < 16 else 10**16


def passes(value: Any) -> Any:
    """Return a loop's items, paid for: at once if their number is known, else one by one."""
    if isinstance(value, TEXT + SEQUENCE + (dict, range)):
        spend(len(value))
        return value
    return _counted(value) if isinstance(value, Iterator) else value


def _counted(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        spend(1)
        yield item


# ---- methods of texts, numbers, lists and objects: (owner, *arguments) -> steps ----------------


def method(name: str, owner: Any, arguments: tuple[Any, ...]) -> float:
    """Return the steps of calling a method of plain data; its result is paid for separately."""
    if isinstance(owner, TEXT):
        special = _TEXT_METHODS.get(name)
        return weight(owner) + (special(owner, *arguments) if special else sum_of(arguments))
    if isinstance(owner, int | float):
        sizes = (value for value in arguments if isinstance(value, int))
        return characters(sum(map(abs, sizes)) if name == "to_bytes" else 0)
    everything = name in ("count", "index")
    return (weight(owner) if everything else 0) + sum_of(arguments)


def sum_of(values: Any) -> int:
    """Return the steps of traversing these values."""
    return sum(map(weight, values))


def _width(_: Any, width: Any = 80, *__: Any) -> float:
    return characters(width) if isinstance(width, int) else 0


def _tabs(owner: Any, size: Any = 8) -> float:
    tab = "\t" if isinstance(owner, str) else b"\t"
    return characters(owner.count(tab) * size) if isinstance(size, int) else 0


def _replace(text: Any, old: Any, new: Any, count: Any = None) -> float:
    text, old, new = (v if isinstance(v, TEXT) else str(v) for v in (text, old, new))
    if isinstance(text, str) != isinstance(old, str):
        return 0  # which Python rejects
    found = text.count(old)
    if isinstance(count, int) and count >= 0:
        found = min(found, count)
    return characters(len(text) + found * len(new))


def _join(owner: Any, items: Any = (), *_: Any) -> float:
    return weight(items) + _between(items, owner)


def _between(items: Any, separator: Any) -> float:
    many = len(items) if hasattr(items, "__len__") else 0
    return many + characters(many * len(str(separator)))


def _pieces(owner: Any, *_: Any) -> float:
    return len(owner) / 16  # a list of words


def _translate(owner: Any, table: Any, *_: Any) -> float:
    values = table.values() if isinstance(table, Mapping) else ()
    longest = max((len(v) for v in values if isinstance(v, str)), default=1)
    return characters(len(owner) * longest)


_TEXT_METHODS: Final[dict[str, Cost]] = {
    "center": _width, "ljust": _width, "rjust": _width, "zfill": _width,
    "expandtabs": _tabs,
    "join": _join,
    "replace": _replace,
    "split": _pieces, "rsplit": _pieces, "splitlines": _pieces,
    "translate": _translate,
}  # fmt: skip


# ---- filters: (value, *arguments) -> steps, with the arguments of Jinja's filters --------------


def nothing(*_: Any, **__: Any) -> float:
    """Return zero steps: the filter takes one item, or is charged as it iterates."""
    return 0


def _listed(value: Any, *_: Any, **__: Any) -> float:
    return len(value) / 8 if isinstance(value, TEXT) else shallow(value)  # a list of characters


def slowly(factor: int) -> Cost:
    """Return the cost function of a filter that traverses its value in Python, or sorts it."""

    def cost(value: Any, *args: Any, **kwargs: Any) -> float:
        return factor * (weight(value) + sum_of(args) + sum_of(kwargs.values()))

    return cost


def _indent(s: Any, width: Any = 4, first: Any = False, blank: Any = False) -> float:
    del first, blank
    lines = 2 + str(s).count("\n") if isinstance(s, str) else 2 + weight(s)
    return weight(s) + characters(lines * (width if isinstance(width, int) else len(str(width))))


def _wordwrap(s: Any, width: Any = 79, *_: Any, **__: Any) -> float:
    """Python's textwrap copies the rest of a long word for each line that it splits off."""
    if not isinstance(s, str) or not isinstance(width, int) or width < 1:
        return 16 * weight(s)
    spend(16 * weight(s) + len(s) / 16)  # before splitting into words
    longest = max(map(len, s.split()), default=0)
    return characters(longest * longest / width)


def _striptags(value: Any) -> float:
    """Markupsafe copies the whole text for each tag."""
    tags = str(value).count("<") if isinstance(value, str) else 1
    return 16 * weight(value) + (1 + tags) * weight(value) / 4


def _batch(value: Any, linecount: Any, fill_with: Any = None) -> float:
    del fill_with
    return shallow(value) + (linecount / 8 if isinstance(linecount, int) else 0)


def _slice(value: Any, slices: Any, fill_with: Any = None) -> float:
    del fill_with
    return shallow(value) + (max(slices, 0) if isinstance(slices, int) else 0)


def _round(value: Any, precision: Any = 0, method: Any = "common") -> float:
    del value, method
    big = isinstance(precision, int) and abs(precision) > _LONGEST_NUMBER // 4
    return float("inf") if big else 0  # it computes 10 ** precision


def _json(value: Any, *args: Any, **kwargs: Any) -> float:
    """Each part goes on its own line, indented by its nesting depth."""
    settings = (*args, *kwargs.values())
    wide = sum(abs(v) if isinstance(v, int) else weight(v) * 256 for v in settings)
    return weight(value) * (1 + characters(wide * _LEVELS))


_LEVELS: Final = 16  # nesting levels; deeper values pay for their output


def _sum(iterable: Any, attribute: Any = None, start: Any = 0) -> float:
    """Lists are added one by one, and each partial sum is a new list."""
    del attribute
    many = len(iterable) if hasattr(iterable, "__len__") else 0
    return many + (0 if isinstance(start, int | float) else many * weight(iterable))


def _joined(value: Any, d: Any = "", attribute: Any = None) -> float:
    del attribute
    return weight(value) + _between(value, d)


def _format(value: Any, *args: Any, **kwargs: Any) -> float:
    return printf(value, args or tuple(kwargs.values()))


FILTERS: Final[dict[str, Cost]] = {
    **dict.fromkeys(
        ["attr", "count", "d", "default", "first", "items", "last", "length", "map", "random",
         "reject", "rejectattr", "select", "selectattr"], nothing),
    **dict.fromkeys(["list", "reverse"], _listed),
    **dict.fromkeys(["dictsort", "groupby", "max", "min", "sort", "unique"], slowly(8)),
    **dict.fromkeys(
        ["e", "escape", "forceescape", "title", "urlencode", "wordcount", "xmlattr"], slowly(8)),
    **dict.fromkeys(["pprint", "urlize"], slowly(64)),
    "batch": _batch,
    "center": _width,
    "format": _format,
    "indent": _indent,
    "join": _joined,
    "replace": _replace,
    "round": _round,
    "slice": _slice,
    "striptags": _striptags,
    "sum": _sum,
    "tojson": _json,
    "wordwrap": _wordwrap,
}  # fmt: skip
"""Filters whose cost is not a single traversal of their input."""
