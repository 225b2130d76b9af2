"""The receiving end: a worker's flow run, which leaves its error where the dispatcher finds it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.failures import Failure
from flows.admission import admit_paths
from flows.dispatch.worker_runs import FAILURE_LABEL
from tasks.runtime.retries import is_for_good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_core.config import RunConfig

logger = logging.getLogger(__name__)


@contextmanager
def telling_failures(config: RunConfig) -> Iterator[None]:
    """If the block fails, leave its error in the store, under the flow run's id.

    If this machine may not use the store, or cannot write to it (deleted, full), the error goes to
    the server, as a label of the flow run. Only in deployment runs.

    Args:
        config: the configuration handed out with the work.
    """
    if deployment.id is None:
        yield
        return
    name, store = str(flow_run.id), None
    try:
        admit_paths(store=config.store)
        store = ArtifactStore(config.store)
        store.failures().remove(name)  # left by this run before it was retried by hand
        yield
    except Exception as error:
        _tell(store, name, Failure.of(error, can_pass=not is_for_good(error)))
        raise


def _tell(store: ArtifactStore | None, name: str, failure: Failure) -> None:
    if store is not None:
        try:
            store.failures().write(name, failure)
        except Exception as error:  # noqa: BLE001 - every file system has its own classes
            logger.warning("%s could not record the failure: %s", store.url, error)
        else:
            return
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(name), {FAILURE_LABEL: failure.to_json()})
