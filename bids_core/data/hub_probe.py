"""Checks that the hub responds, before its own library contacts it.

That library can wait forever: a hub that sends a byte now and then never times out. So one request
is made in a thread that is waited for at most `HUB_SECONDS`.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Literal
from urllib.parse import quote

HUB_SECONDS: Final = 30.0


def unanswered(kind: Literal["models", "datasets"], name: str) -> str | None:
    """Ask the hub for a model or dataset.

    Args:
        kind: which of the two.
        name: `org/name`.

    Returns:
        An error message if the hub accepts the request but does not respond. None if it responds in
        any way, cannot be reached, or must not be contacted (`HF_HUB_OFFLINE`): then its library
        reports the problem itself, or finds its cached files.
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
        f"the hub at {hub.ENDPOINT} accepts requests but does not respond within"
        f" {HUB_SECONDS:.0f} s; try again later, or set HF_HUB_OFFLINE=1 to use files that are"
        " already downloaded"
    )


def _ask(address: str, late: threading.Event) -> None:
    import httpx  # imported here, because machines that only compute gradients may lack it

    end = time.monotonic() + HUB_SECONDS
    try:
        with httpx.stream("GET", address, timeout=HUB_SECONDS) as answer:
            for _ in answer.iter_raw():
                if time.monotonic() > end:  # the caller has stopped waiting
                    return
    except httpx.ReadTimeout:
        late.set()
    except (httpx.HTTPError, httpx.InvalidURL):
        return  # unreachable, or not HTTP: the hub's library will report it
