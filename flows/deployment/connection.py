"""The server that `bids deploy` writes to: is it named, reachable, and accepting us?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

import httpx
from pydantic import TypeAdapter

from bids_core.errors import UserError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from prefect.client.orchestration import PrefectClient

_SECONDS = 10.0
# How long after its deadline a proactive trigger is still evaluated. With Prefect's 60 s, a server
# that was down for longer forgets which runs were active, and never declares them lost.
REMEMBERS: Final = "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER"
_LONG_ENOUGH: Final = timedelta(days=1)
Outcome = Literal["created", "updated", "unchanged", "skipped"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one object on the server."""

    kind: Literal["pool", "queue", "deployment", "schedule", "notification", "automation",
                  "server setting"]  # fmt: skip
    name: str
    outcome: Outcome
    note: str = ""


def resources() -> Traversable:
    """Return the folder with prefect.yaml and the pools' job templates."""
    return files("deployments")


def check_server() -> str:
    """Return the API's URL, after it has answered and accepted our credentials.

    Raises:
        UserError: no server is named, it does not answer, or it rejects our login.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if not settings.api.url:
        msg = (
            "PREFECT_API_URL is not set: set it to the server to deploy to, for example "
            "PREFECT_API_URL=http://127.0.0.1:4200/api (prefect server start runs one)"
        )
        raise UserError(msg)
    url = settings.api.url.rstrip("/")
    headers = {}
    auth = None
    if settings.api.auth_string:
        auth = httpx.BasicAuth(*settings.api.auth_string.get_secret_value().split(":", 1))
    elif settings.api.key:
        headers["Authorization"] = f"Bearer {settings.api.key.get_secret_value()}"
    try:
        answer = httpx.get(f"{url}/admin/version", auth=auth, headers=headers, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        msg = f"PREFECT_API_URL {url}: no server answers there ({error}); start it, or fix the URL"
        raise UserError(msg) from error
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        msg = (
            f"PREFECT_API_URL {url}: the server rejects the login ({answer.status_code}); set "
            "PREFECT_API_AUTH_STRING to its user:password"
        )
        raise UserError(msg)
    if answer.is_error:
        msg = (
            f"PREFECT_API_URL {url}: {answer.status_code} {answer.reason_phrase}; is this a Prefect"
            " API (does the URL end in /api)?"
        )
        raise UserError(msg)
    return url


async def check_settings(client: PrefectClient) -> list[Change]:
    """Return the settings the server should have instead; empty if it does not show them.

    Args:
        client: of the server.
    """
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        answer = await client.request("GET", "/admin/settings")
    except PrefectHTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return []  # Prefect Cloud
        raise
    buffer = answer.json()["server"]["events"]["expired_bucket_buffer"]
    if TypeAdapter(timedelta).validate_python(buffer) >= _LONG_ENOUGH:
        return []
    note = (
        "set it to P7D where the server is started; without it, a run that is lost while the "
        "server is down for minutes stays Running and holds its place in the pool"
    )
    return [Change("server setting", REMEMBERS, "skipped", note)]
