"""Automations: notify people of failures, detect lost runs, run them again.

Only runs with the tag `bids` (all runs of our deployments have it) are watched, so a server can be
shared. Automations are identified by name: an existing one is replaced in place.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from bids_core.errors import UserError
from flows.cancelling import NO_HEARTBEAT
from flows.deployment.connection import Change
from flows.deployment.deployments import TAG

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.blocks.core import Block
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.automations import Automation

BLOCK: Final = "bids-failures"
NOTIFY: Final = "bids: notify on failure"
LOST: Final = "bids: a run without heartbeat has crashed"
NEVER_BEGAN: Final = "bids: a run that never began has crashed"
RETRY: Final = "bids: run a crashed run again"
HEARTBEAT: Final = "prefect.flow-run.heartbeat"
PROCESS: Final[dict[str, str | list[str]]] = {
    "prefect.resource.role": "work-pool",
    "prefect.work-pool.type": "process",
}
WITHOUT_HEARTBEAT: Final = timedelta(seconds=90)  # three of the pools' 30-second heartbeats
# From when a worker takes a run until the run first reports: starting Python with its imports. Only
# process pools: pulling an image may take longer, and a Kubernetes job waits for its GPU.
TO_BEGIN: Final = timedelta(minutes=10)
# A worker with --limit holds the slot of a crashed run until it has looked for crash hooks (for
# which it loads the flow), and dies if it gets the run back before that (Prefect 3.8.8: "already
# holding one of this CapacityLimiter's tokens"). Workers of the cpu pool are started without it.
BEFORE_RETRY: Final = timedelta(seconds=30)
ATTEMPTS: Final = 3
# these flows hand out lost work (gradient-shards, gpu-stage) again themselves
PARENTS: Final = ("select-data", "select-matrix", "compare-methods")
_STARTS: Final = ("AwaitingRetry", "Scheduled", "Pending", "Running", "Retrying")
_ENDS: Final = ("Completed", "Failed", "Cancelled", "Crashed")
_LEAVES_PENDING: Final = ("Running", "Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot",
                          "Late", "Cancelling", *_ENDS)  # fmt: skip
_BODY: Final = """{{ flow.name }}: {{ flow_run.name }} ended {{ flow_run.state.name }}
{{ flow_run.state.message }}
{{ flow_run|ui_url }}"""


async def apply_automations(client: PrefectClient, *, notify: str | None) -> list[Change]:
    """Create the automations or bring them up to date.

    Args:
        client: of the server.
        notify: webhook that is notified of failures; None leaves an existing one as it is.

    Raises:
        UserError: the webhook's URL is invalid.
    """
    changes = [await _apply(client, wanted) for wanted in (_lost(), _never_began(), _retry())]
    if notify is None:
        found = await client.read_automations_by_name(NOTIFY)
        note = "" if found else "give --notify URL (or BIDS_NOTIFY_URL) for notifications of "
        "failures"
        changes.append(Change("automation", NOTIFY, "unchanged" if found else "skipped", note))
        return changes
    block_id = await _notification_block(client, notify)
    changes.append(Change("notification", BLOCK, "updated", urlsplit(notify).hostname or ""))
    changes.append(await _apply(client, _notify(block_id)))
    return changes


def _watched(
    labels: dict[str, list[str]] | None = None,
    *,
    flows: tuple[str, ...] = (),
    pool: dict[str, str | list[str]] | None = None,
) -> dict[str, Any]:
    """Return the filter by which a trigger watches only our runs (of some flows, pools) singly."""
    related: list[dict[str, str | list[str]]] = [
        {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
    ]
    if flows:
        related.append({"prefect.resource.name": list(flows), "prefect.resource.role": "flow"})
    if pool:
        related.append(pool)
    return {
        "match": ResourceSpecification(
            {"prefect.resource.id": "prefect.flow-run.*", **(labels or {})}
        ),
        "match_related": [ResourceSpecification(resource) for resource in related],
        "for_each": {"prefect.resource.id"},
    }


def _becomes(state: StateType, name: str, message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=state, name=name, message=message, force=False)


def _lost() -> AutomationCore:
    return AutomationCore(
        name=LOST,
        description="A run whose worker or machine is gone would stay Running forever.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={HEARTBEAT, "prefect.flow-run.Running"},  # the first heartbeat may be missed too
            expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            within=WITHOUT_HEARTBEAT,
            threshold=1,
            **_watched(),
        ),
        actions=[_becomes(StateType.CRASHED, "Crashed", NO_HEARTBEAT)],
    )


def _never_began() -> AutomationCore:
    return AutomationCore(
        name=NEVER_BEGAN,
        description="A run that was lost while it started would stay Pending for ever.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.Pending"},
            expect={f"prefect.flow-run.{state}" for state in _LEAVES_PENDING},
            within=TO_BEGIN,
            threshold=1,
            **_watched(pool=PROCESS),
        ),
        actions=[
            _becomes(
                StateType.CRASHED, "Crashed", "it did not begin: its worker or machine is gone"
            )
        ],
    )


def _retry() -> AutomationCore:
    attempts = [str(attempt) for attempt in range(1, ATTEMPTS)]
    return AutomationCore(
        name=RETRY,
        description=f"Finished work is in the store. At most {ATTEMPTS} attempts in all.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.Crashed"},
            expect={f"prefect.flow-run.{state}" for state in _STARTS},
            within=BEFORE_RETRY,
            **_watched({"prefect.run-count": attempts}, flows=PARENTS),
        ),
        actions=[_becomes(StateType.SCHEDULED, "AwaitingRetry", "run again after a crash")],
    )


def _notify(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name=NOTIFY,
        description="Notifies the webhook of failed and crashed runs, not of their parts.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            **_watched(flows=PARENTS),
        ),
        actions=[
            SendNotification(
                block_document_id=block_id,
                subject="{{ flow_run.name }} {{ flow_run.state.name }}",
                body=_BODY,
            )
        ],
    )


async def _apply(client: PrefectClient, wanted: AutomationCore) -> Change:
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return Change("automation", wanted.name, "created")
    kept = wanted.model_copy(update={"enabled": found[0].enabled})
    if _content(found[0]) == _content(kept):
        return Change("automation", wanted.name, "unchanged")
    await client.update_automation(found[0].id, kept)
    return Change("automation", wanted.name, "updated")


def _content(automation: AutomationCore | Automation) -> dict[str, Any]:
    core = AutomationCore.model_validate(automation.model_dump(exclude={"id"}))
    return core.model_dump(exclude={"trigger": {"id"}})  # not as JSON: sets have no order there


async def _notification_block(client: PrefectClient, url: str) -> UUID:
    """Save the webhook as a block, its URL as a secret: anyone who has it can post."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "--notify: not an http(s) URL of a webhook (the value is not shown, it is a secret)"
        raise UserError(msg)
    block: Block
    if parts.hostname == "hooks.slack.com":
        block = SlackWebhook(url=SecretStr(url))
    else:
        block = CustomWebhookNotificationBlock.model_validate(
            {
                "name": BLOCK,
                "url": "{{ webhook }}",
                "json_data": {"subject": "{{subject}}", "text": "{{body}}"},
                "secrets": {"webhook": url},
            }
        )
    saved: UUID = await block.save(BLOCK, overwrite=True, client=client)
    return saved
