"""Deployments and their schedules, from deployments/prefect.yaml, through `prefect deploy`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import ObjectNotFound

from bids_core.errors import BidsError, UserError
from flows.deployment.connection import Change, Outcome, resources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from bids_core.config import RunConfig

TAG = "bids"
NIGHTLY = "nightly"
_KEPT = {"id", "created", "updated", "version_id", "version_info", "last_polled", "status"}
_LINES = 12


def flow_name(entry: dict[str, Any]) -> str:
    """Return the name under which Prefect lists a deployment, `flow/deployment`.

    Flows are named after their functions, with dashes, so they need not be imported here.
    """
    return f"{entry['entrypoint'].rsplit('.', 1)[-1].replace('_', '-')}/{entry['name']}"


def read_entries(only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the entries of prefect.yaml, all or only the named ones.

    Args:
        only: names, `flow/deployment`.

    Raises:
        UserError: a name is not among them.
    """
    text = (resources() / "prefect.yaml").read_text(encoding="utf-8")
    entries = {flow_name(entry): entry for entry in yaml.safe_load(text)["deployments"]}
    for name in only:
        if name not in entries:
            msg = f"--only {name}: no such deployment; choose from {', '.join(entries)}"
            raise UserError(msg)
    return [entry for name, entry in entries.items() if not only or name in only]


async def apply_deployments(
    client: PrefectClient, entries: list[dict[str, Any]], *, nightly: RunConfig | None
) -> list[Change]:
    """Create the deployments or bring them up to date.

    A schedule already on the server keeps its on/off state, its times and its parameters.

    Args:
        client: of the server.
        entries: of prefect.yaml.
        nightly: configuration for the nightly schedule; None: unchanged.

    Raises:
        BidsError: `prefect deploy` failed.
    """
    before = {flow_name(entry): await _read(client, flow_name(entry)) for entry in entries}
    for entry in entries:
        for schedule in entry.get("schedules", ()):
            _keep(schedule, before[flow_name(entry)])
            if schedule["slug"] == NIGHTLY and nightly is not None:
                schedule["parameters"] = {"config": nightly.model_dump(mode="json")}
    _prefect_deploy(entries)
    changes = []
    for entry in entries:
        name = flow_name(entry)
        after = await _read(client, name)
        changes.append(Change("deployment", name, _outcome(before[name], after)))
        changes += _schedules(name, before[name], after)
    return changes


async def stale_deployments(client: PrefectClient) -> list[str]:
    """Return the names of deployments on the server with our tag that are not in prefect.yaml."""
    ours = {flow_name(entry) for entry in read_entries()}
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = []
    for deployment in await client.read_deployments(deployment_filter=tagged):
        flow = await client.read_flow(deployment.flow_id)
        name = f"{flow.name}/{deployment.name}"
        if name not in ours:
            found.append(name)
    return found


async def _read(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _keep(schedule: dict[str, Any], found: DeploymentResponse | None) -> None:
    """Keep a schedule as it is on the server."""
    for known in found.schedules if found else ():
        if known.slug == schedule["slug"]:
            schedule["active"] = known.active
            schedule["parameters"] = known.parameters
            cron = known.schedule.model_dump(mode="json")
            if "cron" in cron:
                schedule |= {"cron": cron["cron"], "timezone": cron.get("timezone")}


def _prefect_deploy(entries: list[dict[str, Any]]) -> None:
    content = {"name": "bids", "pull": [], "deployments": entries}
    with tempfile.TemporaryDirectory(prefix="bids-deploy-") as folder:
        path = Path(folder, "prefect.yaml")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all",
             "--prefect-file", str(path)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES:])
        msg = f"prefect deploy failed with exit status {done.returncode}:\n{said}"
        raise BidsError(msg)


def _outcome(before: DeploymentResponse | None, after: DeploymentResponse | None) -> Outcome:
    if before is None:
        return "created"
    if after is None:
        msg = f"deployment {before.name} is gone from the server after deploying it"
        raise BidsError(msg)
    return "unchanged" if _content(before) == _content(after) else "updated"


def _content(deployment: DeploymentResponse) -> dict[str, Any]:
    content = deployment.model_dump(mode="json", exclude=_KEPT)
    content["schedules"] = [
        {key: value for key, value in schedule.items() if key not in _KEPT}
        for schedule in content["schedules"]
    ]
    return content


def _schedules(
    name: str, before: DeploymentResponse | None, after: DeploymentResponse | None
) -> list[Change]:
    known = {s["slug"]: s for s in (_content(before)["schedules"] if before else ())}
    changes = []
    for schedule in _content(after)["schedules"] if after else ():
        slug = schedule["slug"]
        same: Outcome = "unchanged" if known.get(slug) == schedule else "updated"
        note = f"{schedule['schedule'].get('cron', '')} {'on' if schedule['active'] else 'off'}"
        changes.append(
            Change("schedule", f"{name} {slug}", same if slug in known else "created", note.strip())
        )
    return changes
