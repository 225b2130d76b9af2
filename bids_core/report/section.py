"""The sections of the report: their type, and the list of them.

A section is a module of this package with a `SECTION`; adding one needs no other change. Its
template is `section_<name>.html.j2`, which finds the result of `make` under the section's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_core.report.inputs import ReportInputs


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report.

    Args:
        name: of its anchor, its template, and the template's variable that holds its values.
        title: in the table of contents.
        place: sections are ordered by this number.
        make: returns what the template shows; None if the section does not apply to a run.
    """

    name: str
    title: str
    place: int
    make: Callable[[ReportInputs], dict[str, Any] | None]

    @property
    def template(self) -> str:
        """File name of the template."""
        return f"section_{self.name}.html.j2"


@lru_cache(maxsize=1)
def sections() -> tuple[Section, ...]:
    """Return all sections, in page order."""
    import bids_core.report as room

    names = [module.name for module in pkgutil.iter_modules(room.__path__)]
    modules = [importlib.import_module(f"{room.__name__}.{name}") for name in names]
    found = [module.SECTION for module in modules if hasattr(module, "SECTION")]
    return tuple(sorted(found, key=lambda section: section.place))
