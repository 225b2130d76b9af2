"""The verdict as both pages show it: badge, sentence, and the rest of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison import Badge

if TYPE_CHECKING:
    from bids_core.comparison import Verdict

_KINDS: Final = {Badge.BETTER: "good", Badge.UNCLEAR: "open"}


def verdict_block(verdict: Verdict) -> dict[str, Any]:
    """Return what `verdict.html.j2` shows; the badge never speaks by its colour alone."""
    return {
        "badge": verdict.label,
        "kind": _KINDS.get(verdict.badge, "bad"),
        "lead": verdict.sentences[0],
        "rest": verdict.sentences[1:],
    }
