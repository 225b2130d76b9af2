"""Help that lists entries of the library's tables, read only when help is shown.

An option's help contains a placeholder such as `{methods}`, so that `bids --help` and starting a
command import no table.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

_WORKS_ON = {
    "texts": "from texts ",
    "rds": "from representations ",
    "rds_plus": "from representations ",
    "perplexities": "from perplexities ",
}


class LateHelp(TyperCommand):
    """A command with options whose help lists selection methods and normalisations."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Typer bundles its own click
        """Write the help."""
        from bids_core.normalization import NORMALIZATIONS

        words = {"{methods}": method_words(), "{normalizations}": ", ".join(NORMALIZATIONS)}
        for option in self.params:
            for place, text in words.items():
                if place in (getattr(option, "help", None) or ""):
                    option.help = option.help.replace(place, text)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def method_words() -> str:
    """Return the names of all methods, grouped by their inputs."""
    from bids_core.selection import METHODS

    groups: dict[str, list[str]] = {}
    for name in METHODS:
        known = name not in METHODS.installed()
        group = _WORKS_ON.get(METHODS[name].needs, "") if known else "from installed packages "
        groups.setdefault(group, []).append(name)
    return "; ".join(what + ", ".join(names) for what, names in groups.items())
