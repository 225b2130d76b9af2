"""The server that `bids deploy` writes to: found, reachable, and willing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import httpx

from bids_core.errors import UserError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SECONDS = 10.0
Outcome = Literal["created", "updated", "unchanged", "skipped"]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one thing on the server."""

    kind: Literal["pool", "queue", "deployment", "schedule", "notification", "automation"]
    name: str
    outcome: Outcome
    note: str = ""


def resources() -> Traversable:
    """Return the folder with prefect.yaml and the pools' job templates."""
    return files("deployments")


def check_server() -> str:
    """Return the API's URL, once it has answered and taken our credentials.

    Raises:
        UserError: no server is named, it does not answer, or it refuses us.
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
            f"PREFECT_API_URL {url}: the server refuses us ({answer.status_code}); set "
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
