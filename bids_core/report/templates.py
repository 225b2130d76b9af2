"""The page templates and what they share."""

from __future__ import annotations

import re
from functools import lru_cache

import jinja2
from markupsafe import Markup, escape

from bids_core.report.glossary import anchor


def style_sheet() -> str:
    """Return the style sheet shared by all pages."""
    return environment().get_template("style.css.j2").render()


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Return the template environment: values are escaped, and undefined ones are errors."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bids_core", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["breakable"] = _breakable
    made.filters["anchor"] = anchor
    return made


def _breakable(name: str) -> Markup:
    """Let a name in a narrow column break after underscores, hyphens and slashes."""
    parts = (escape(part) for part in re.split(r"(?<=[_/-])", name))
    return Markup("<wbr>").join(parts)
