"""Work pools and their queues, as listed in deployments/pools/pools.yaml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from flows.deployment.connection import Change, resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import WorkPool


def read_pools(*, kubernetes: bool) -> dict[str, dict[str, Any]]:
    """Return the pools by name, each with `type`, `description` and `base_job_template`."""
    folder = resources() / "pools"
    listed = yaml.safe_load((folder / "pools.yaml").read_text(encoding="utf-8"))["pools"]
    pools = {}
    for name, entry in listed.items():
        if entry.get("only_when_asked") and not kubernetes:
            continue
        template = json.loads((folder / entry["template"]).read_text(encoding="utf-8"))
        pools[name] = {
            "type": entry["type"],
            "description": entry["description"],
            "base_job_template": template,
        }
    return pools


def read_queues() -> dict[str, int]:
    """Return the queues that every pool gets, with their priorities."""
    text = (resources() / "pools" / "pools.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)["queues"])


async def apply_pools(
    client: PrefectClient, pools: dict[str, dict[str, Any]]
) -> AsyncIterator[Change]:
    """Create the pools and their queues, or bring them up to date.

    Limits and pauses set on the server stay.
    """
    for name, wanted in pools.items():
        try:
            found = await client.read_work_pool(name)
        except ObjectNotFound:
            await client.create_work_pool(WorkPoolCreate(name=name, **wanted))
            yield Change("pool", name, "created", wanted["type"])
        else:
            yield await _update_pool(client, found, wanted)
        async for change in _apply_queues(client, name):
            yield change


async def _update_pool(client: PrefectClient, found: WorkPool, wanted: dict[str, Any]) -> Change:
    if found.type != wanted["type"]:
        note = f"is of type {found.type}, not {wanted['type']}: left alone"
        return Change("pool", found.name, "skipped", note)
    update = {key: wanted[key] for key in ("description", "base_job_template")}
    if all(getattr(found, key) == value for key, value in update.items()):
        return Change("pool", found.name, "unchanged", found.type)
    await client.update_work_pool(found.name, WorkPoolUpdate(**update))
    return Change("pool", found.name, "updated", found.type)


async def _apply_queues(client: PrefectClient, pool: str) -> AsyncIterator[Change]:
    for name, priority in read_queues().items():
        label = f"{pool}/{name}"
        found = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
        if name not in found:
            await client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
            yield Change("queue", label, "created", f"priority {priority}")
        elif found[name].priority != priority:
            await _set_priority(client, pool, name, priority)
            yield Change("queue", label, "updated", f"priority {priority}")
        else:
            yield Change("queue", label, "unchanged", f"priority {priority}")


async def _set_priority(client: PrefectClient, pool: str, queue: str, priority: int) -> None:
    answer = await client.request(
        "PATCH",
        "/work_pools/{work_pool_name}/queues/{name}",
        path_params={"work_pool_name": pool, "name": queue},
        json={"priority": priority},
    )
    answer.raise_for_status()
