"""The table of selection methods: those in this folder, in installed packages, and the user's own.

A method is a function from a `Request` to `Picks`, decorated with `@selection_method`. Every such
function in `bids_core/selection/` is in the table: a new one needs no other change. An installed
package adds its methods with entry points in the group `bids.selection_methods`; any other function
is named where it is used, as `package.module:function` or `file.py:function`.

Shapes: see `bids_core.selection.request`.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from bids_core.errors import ConfigError
from bids_core.own_code import OwnFunction, check_call, function_name, is_own, load_function
from bids_core.registry import Entry, Registry, unknown_name

if TYPE_CHECKING:
    from bids_core.selection.request import Request
    from bids_core.selection.result import Picks

logger = logging.getLogger(__name__)

GROUP: Final = "bids.selection_methods"
"""Group of the entry points by which installed packages add selection methods."""
EXAMPLE: Final = "methods.py"
"""Example file name in messages about a user's own method."""
RESERVED: Final = ("zero_shot", "pool", "file")
"""Names that mean something else where methods are listed."""
_MARK: Final = "__selection_method__"
_CALL: Final = "(request)"
_AT_HAND: Final = "at hand"

Needs = Literal["influence", "nothing", "texts", "rds", "rds_plus", "perplexities"]
"""The inputs of a method: `rds` and `rds_plus` are representations, pooled in that way. In a run,
every method also gets the attribution matrix."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Method(Entry):
    """One selection method.

    Args:
        run: makes the picks.
        normalized: whether it uses `normalization`; the others are defined on raw influence.
        seeded: whether the seed changes its result.
        labels: labels of instances and rows that it needs: `tasks`, `sources`.
        needs: its inputs; hidden states and perplexities cost a pass of the base model.
        colour: its colour on the page (a name in `report/style.css.j2`); None: any unused one.
        trial: whether a third-party method is tried on a few rows before a run.
        code: digest of the source of a third-party method, otherwise None.
    """

    run: Callable[[Request], Picks]
    normalized: bool = False
    seeded: bool = False
    needs: Needs = "influence"
    labels: tuple[str, ...] = ()
    colour: str | None = None
    trial: bool = True
    code: str | None = None

    @property
    def doc(self) -> str:
        """The long description: the docstring of its function."""
        return inspect.getdoc(self.run) or ""

    @property
    def identity(self) -> dict[str, str]:
        """Its part of a selection's fingerprint: name, and third-party code by content."""
        return {"method": self.name} | ({} if self.code is None else {"code": self.code})


def selection_method(
    *,
    name: str = "",
    what: str = "",
    label: str = "",
    normalized: bool = False,
    seeded: bool = False,
    needs: Needs = "influence",
    labels: tuple[str, ...] = (),
    colour: str | None = None,
    trial: bool = True,
) -> Callable[[F], F]:
    """Register a function as a selection method, with its properties.

    Args: as for `Method`; by default `name` is the function's name, `what` its docstring's first
    line.

    Raises:
        ValueError: `needs` is not one of `Needs`.
    """
    if needs not in get_args(Needs):
        raise ValueError(unknown_name("value of `needs`", needs, get_args(Needs)))

    def mark(function: F) -> F:
        first = (inspect.getdoc(function) or "").split("\n")[0].rstrip(".")
        method = Method(
            name=name or function.__name__, run=function, what=what or first, label=label,
            normalized=normalized, seeded=seeded, needs=needs, labels=labels, colour=colour,
            trial=trial,
        )  # fmt: skip
        setattr(function, _MARK, method)
        return function

    return mark


class Methods(Registry[Method]):
    """The table: `METHODS[name]` finds methods in this folder, in packages, and the user's own.

    Iterating yields the methods that have a name: those in this folder, then those of installed
    packages.
    """

    def __init__(self) -> None:
        super().__init__("selection method", reserved=RESERVED)
        self._complete = False

    def __getitem__(self, name: str) -> Method:
        """Return a method.

        Raises:
            KeyError: there is no method of that name.
            ConfigError: a third-party method cannot be imported or called.
        """
        if is_own(name):
            where = f"selection method {name!r}"
            return _foreign(
                load_function(name, where=where, example=EXAMPLE, call=_CALL, arguments=(None,)),
                function_name(name),
            )
        self._fill()
        if name in self._entries:
            return self._entries[name]
        return _installed(_entry_points()[name])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (is_own(name) or name in set(self))

    def __iter__(self) -> Iterator[str]:
        self._fill()
        yield from self._entries
        yield from self.installed()

    def unknown(self, name: object) -> str:
        """Return the message for a name that is not in the table."""
        if str(name).endswith(".py"):
            return f"{name} is a file: name the function that selects, as in {name}:function"
        return super().unknown(name)

    def installed(self) -> dict[str, str]:
        """Return the methods of installed packages: name and package; nothing is imported."""
        self._fill()
        found = _entry_points().items()
        return {name: _package(point) for name, point in found if name not in self._entries}

    def words(self) -> str:
        """Return one line that describes each; for installed packages' methods only the package."""
        self._fill()
        ours = [f"`{name}`: {method.what}" for name, method in self._entries.items()]
        return "; ".join(ours + [f"`{name}`: of {p}" for name, p in self.installed().items()])

    def _fill(self) -> None:
        """Collect the methods in this folder."""
        if self._complete:
            return
        self._complete = True
        for found in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
            module = importlib.import_module(found.name)
            for value in list(vars(module).values()):
                method = getattr(value, _MARK, None)
                if isinstance(method, Method) and value.__module__ == found.name:
                    self.add(method)
        for name in self._entries.keys() & _entry_points().keys():
            logger.warning(
                "the package %s adds a selection method %r, but BIDS has one of that name: "
                "BIDS's own is used",
                _package(_entry_points()[name]),
                name,
            )


METHODS: Final = Methods()
"""Methods, by the names that users type."""


def method_of(method: str | Callable[..., Any]) -> Method:
    """Return a method by its name, or made from a function.

    Raises:
        KeyError, ConfigError: see `METHODS`.
    """
    if isinstance(method, str):
        return METHODS[method]
    name = getattr(method, "__name__", type(method).__name__).strip("<>")
    check_call(method, where=f"selection method {name!r}", call=_CALL, arguments=(None,))
    return _foreign(OwnFunction(name, method, _AT_HAND), name)


def _foreign(found: OwnFunction, name: str) -> Method:
    """Return a third-party method; its identity does not depend on what it declares.

    A function without `@selection_method` is taken to use both normalisation and seed.
    """
    declared = getattr(found.function, _MARK, None)
    if not isinstance(declared, Method):
        what = (inspect.getdoc(found.function) or "").split("\n")[0].rstrip(".")
        declared = Method(name=name, run=found.function, what=what, normalized=True)
    plain = declared.label == declared.name.replace("_", " ")  # it declares none
    return replace(
        declared, name=name, label=name if plain else declared.label, seeded=True, code=found.digest
    )


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, EntryPoint]:
    """Return the methods of installed packages.

    Raises:
        ConfigError: two packages add methods with the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            msg = (
                f"the packages {_package(other)} and {_package(point)} both add a selection method "
                f"{point.name!r}: uninstall one of them"
            )
            raise ConfigError(msg)
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def _installed(point: EntryPoint) -> Method:
    """Return a method of an installed package.

    Raises:
        ConfigError: it cannot be imported, or cannot be called with a request.
    """
    found = load_function(
        f"{point.module}:{point.attr}",
        where=f"selection method {point.name!r} of the package {_package(point)}",
        example=EXAMPLE,
        call=_CALL,
        arguments=(None,),
    )
    return _foreign(found, point.name)


def require_methods(names: Iterable[str]) -> None:
    """Import the third-party methods, so that a missing one is noticed at once.

    Raises:
        ConfigError: one is unknown, cannot be imported, or cannot be called with a request.
    """
    for name in names:
        if name not in METHODS:
            raise ConfigError(METHODS.unknown(name))
        METHODS[name]  # looked up for the errors it may raise
