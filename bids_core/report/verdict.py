"""The verdict as both pages show it: badge, sentence, advice, and the other findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from bids_core.comparison import Badge

if TYPE_CHECKING:
    from bids_core.comparison import Verdict

_AHEAD: Final = 3  # sentences on methods that are ahead, on the first screen
_KINDS: Final = {Badge.BETTER: "good", Badge.UNCLEAR: "open"}


def verdict_block(verdict: Verdict) -> dict[str, Any]:
    """Return what `verdict.html.j2` shows; the badge never relies on colour alone."""
    ahead = verdict.ahead[:_AHEAD]
    return {
        "badge": verdict.label,
        "kind": _KINDS.get(verdict.badge, "bad"),
        "lead": _coded(verdict.sentences[0]),
        "ahead": [_coded(one) for one in ahead],
        "advice": _coded(verdict.advice),
        "rest": [
            _coded(one)
            for one in verdict.sentences[1:]
            if one != verdict.advice and one not in ahead
        ],
    }


def _coded(sentence: str) -> Markup:
    """Return a sentence with its backticked parts as code, the rest as text."""
    parts = sentence.split("`")
    return Markup("").join(
        command_markup(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def command_markup(command: str) -> Markup:
    """Return a command as code that breaks lines only between words."""
    words = (Markup('<span class="nb">{}</span>').format(word) for word in command.split(" "))
    return Markup("<code>{}</code>").format(Markup(" ").join(words))
