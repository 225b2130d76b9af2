"""What a section of the report is, and which ones there are.

A module of this package that has a `SECTION` is one; nothing else has to be touched to add it. Its
template is `section_<name>.html.j2`, and finds what `make` returned under the section's name.
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
        name: of its anchor, its template and what the template calls its values.
        title: in the table of contents.
        place: sections come in the order of these numbers.
        make: returns what the template shows; None where the section does not apply to a run.
    """

    name: str
    title: str
    place: int
    make: Callable[[ReportInputs], dict[str, Any] | None]

    @property
    def template(self) -> str:
        """File name of its template."""
        return f"section_{self.name}.html.j2"


@lru_cache(maxsize=1)
def sections() -> tuple[Section, ...]:
    """Return all sections, in the order of the page."""
    import bids_core.report as room

    names = [module.name for module in pkgutil.iter_modules(room.__path__)]
    modules = [importlib.import_module(f"{room.__name__}.{name}") for name in names]
    found = [module.SECTION for module in modules if hasattr(module, "SECTION")]
    return tuple(sorted(found, key=lambda section: section.place))
