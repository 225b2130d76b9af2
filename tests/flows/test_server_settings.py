"""`bids deploy` tells what the server should be told otherwise."""

from __future__ import annotations

import asyncio

import pytest
from prefect.client.orchestration import get_client

from flows.deployment.connection import REMEMBERS, check_settings


async def asked():
    async with get_client() as client:
        return await check_settings(client)


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_forgets_lost_runs_is_told_of():
    (change,) = asyncio.run(asked())  # a temporary server has Prefect's own settings
    assert (change.name, change.outcome) == (REMEMBERS, "skipped")
    assert "P7D" in change.note
