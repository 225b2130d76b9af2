"""The verdict as both pages show it: badge, sentence, and the rest of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from bids_core.comparison import Badge

if TYPE_CHECKING:
    from bids_core.comparison import Verdict

_KINDS: Final = {Badge.BETTER: "good", Badge.UNCLEAR: "open"}


def verdict_block(verdict: Verdict) -> dict[str, Any]:
    """Return what `verdict.html.j2` shows; the badge never speaks by its colour alone."""
    return {
        "badge": verdict.label,
        "kind": _KINDS.get(verdict.badge, "bad"),
        "lead": _coded(verdict.sentences[0]),
        "rest": [_coded(sentence) for sentence in verdict.sentences[1:]],
    }


def _coded(sentence: str) -> Markup:
    """Return a sentence with what stands in backticks as code; the rest stays text."""
    parts = sentence.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
