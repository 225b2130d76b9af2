"""Whether the hub answers at all, before its own library asks it.

That library waits for an answer for ever, and a hub that sends a byte now and then is never too
late for it. So one question is asked in a thread that nobody waits for longer than `HUB_SECONDS`.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Literal
from urllib.parse import quote

HUB_SECONDS: Final = 30.0


def unanswered(kind: Literal["models", "datasets"], name: str) -> str | None:
    """Ask the hub for a model or data set.

    Args:
        kind: of which of its two lists.
        name: `org/name`.

    Returns:
        What is to be said of a hub that takes the question and does not answer it; None where it
        answers, whatever it says, and where it cannot be reached or is not to be asked
        (`HF_HUB_OFFLINE`): its library says so itself, or finds what was fetched before.
    """
    from huggingface_hub import constants as hub

    if hub.HF_HUB_OFFLINE:
        return None
    address = f"{hub.ENDPOINT}/api/{kind}/{quote(name)}"
    late = threading.Event()
    asking = threading.Thread(target=_ask, args=(address, late), name="bids-hub", daemon=True)
    asking.start()
    asking.join(HUB_SECONDS)
    if not asking.is_alive() and not late.is_set():
        return None
    return (
        f"the hub at {hub.ENDPOINT} takes the question and does not answer it within"
        f" {HUB_SECONDS:.0f} s; try again later, or set HF_HUB_OFFLINE=1 to use what was fetched"
        " before"
    )


def _ask(address: str, late: threading.Event) -> None:
    import httpx  # here: machines that only compute gradients may lack it

    end = time.monotonic() + HUB_SECONDS
    try:
        with httpx.stream("GET", address, timeout=HUB_SECONDS) as answer:
            for _ in answer.iter_raw():
                if time.monotonic() > end:  # nobody waits for the rest
                    return
    except httpx.ReadTimeout:
        late.set()
    except (httpx.HTTPError, httpx.InvalidURL):
        return  # not reachable, or not HTTP: told by who asks next
