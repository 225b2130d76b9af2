"""A hub that answers, and then sends what was asked for byte by byte: given up, in one line.

The hub's library waits for each byte anew, so a byte now and then keeps it waiting for months.
While we fetch something, its HTTP client (which it lets others make: `set_client_factory`) is one
whose answers must begin within a minute, and arrive at 1 KiB/s or more, on average over a minute of
waiting for them. What hf_xet fetches goes past that client.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUB_WINDOW: Final = 60.0
"""Seconds: to begin an answer, and over which its rate is looked at."""
HUB_RATE: Final = 1024
"""Bytes a second; a modem's line has seven times as much."""

_lock = threading.Lock()
_watches: list[_Watch] = []  # one, while anything is fetched, with as many users
_users = 0


class HubTooSlow(OSError):
    """The hub answers too slowly; the message is whole."""


@contextmanager
def watched_hub() -> Iterator[None]:
    """Give up on a hub that sends too slowly, within the block, in whatever thread it is asked.

    Raises:
        HubTooSlow: it did, whatever the hub's library made of that.
    """
    watch = _begin()
    try:
        yield
    except Exception as error:
        if watch.problem is not None:
            raise HubTooSlow(watch.problem) from error
        raise
    finally:
        _end(watch)


def _begin() -> _Watch:
    global _users
    with _lock:
        if not _watches:
            _watches.append(_Watch())
        _users += 1
        return _watches[0]


def _end(watch: _Watch) -> None:
    global _users
    with _lock:
        _users -= 1
        if not _users:
            watch.stop()
            _watches.clear()


class _Watch:
    """Has the hub's library use a client that is watched, until `stop`."""

    def __init__(self) -> None:
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils import _http

        self.problem: str | None = None
        self._waiting: dict[int, tuple[float, str]] = {}  # by thread: since when, for what
        self._over = threading.Event()
        self._before: Callable[[], Any] = _http._GLOBAL_CLIENT_FACTORY
        set_client_factory(self._client)
        threading.Thread(target=self._look, name="bids-hub-rate", daemon=True).start()

    def stop(self) -> None:
        """Give the library back its own client."""
        from huggingface_hub import set_client_factory

        self._over.set()
        set_client_factory(self._before)

    def give_up(self, address: str, what: str) -> HubTooSlow:
        """Note what is wrong, once; returns it as an error."""
        if self.problem is None:
            parts = urlsplit(address)
            self.problem = (
                f"{parts.scheme}://{parts.netloc} sends {parts.path} too slowly: {what}; try again"
                " later, or set HF_HUB_OFFLINE=1 to use what was fetched before"
            )
        return HubTooSlow(self.problem)

    def _client(self) -> Any:
        """Make a client as the library, or whoever asked it to, would; and watch it."""
        client = self._before()
        hooks = client.event_hooks
        client.event_hooks = hooks | {
            "request": [*hooks.get("request", ()), self._asked],
            "response": [self._answered, *hooks.get("response", ())],
        }
        send = client.send

        def watched_send(*arguments: Any, **options: Any) -> Any:
            try:
                return send(*arguments, **options)
            finally:
                self._waiting.pop(threading.get_ident(), None)

        client.send = watched_send
        return client

    def _asked(self, request: Any) -> None:
        address = str(request.url)
        if self.problem is not None:
            raise HubTooSlow(self.problem)
        limits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            kind: HUB_WINDOW if limits.get(kind) is None else min(limits[kind], HUB_WINDOW)
            for kind in ("connect", "read", "write", "pool")
        }
        self._waiting[threading.get_ident()] = (time.monotonic(), address)

    def _answered(self, response: Any) -> None:
        self._waiting.pop(threading.get_ident(), None)
        response.stream = _stream(response.stream, str(response.request.url), self)

    def _look(self) -> None:
        """End requests whose answer does not begin: of its headers, nobody is told before."""
        from huggingface_hub import close_session

        while not self._over.wait(HUB_WINDOW / 60):
            late = time.monotonic() - HUB_WINDOW
            for since, address in list(self._waiting.values()):
                if since < late:
                    self.give_up(address, f"no answer begins within {HUB_WINDOW:.0f} s")
                    close_session()  # whoever waits for its next byte gets an error in its place


def _stream(inner: Any, address: str, watch: _Watch) -> Any:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # httpx or httpx2

    class Watched(httpx.SyncByteStream):
        """The bytes of an answer; only what is waited for them counts, not what is done between."""

        def __iter__(self) -> Iterator[bytes]:
            parts = iter(inner)
            waited, received = 0.0, 0
            while True:
                before = time.monotonic()
                part: bytes | None = next(parts, None)
                waited += time.monotonic() - before
                if part is None:
                    return
                received += len(part)
                if waited > HUB_WINDOW:
                    if received < HUB_RATE * waited:
                        what = f"{received:,} bytes in {waited:.0f} s"
                        raise watch.give_up(
                            address, f"{what}, the minimum is {HUB_RATE:,} a second"
                        )
                    waited, received = 0.0, 0
                yield part

        def close(self) -> None:
            """Close the answer."""
            inner.close()

    return Watched()
