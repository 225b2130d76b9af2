"""Hands work to the workers of a deployment until the store has all of it.

The store decides: work is done when its artifacts are there and intact, whatever a flow run
reports. A flow run that crashed, was cancelled or failed temporarily, or whose worker shows no sign
of life (no new artifact, no change of its artifact's lock, no change of state), is handed out
again, a limited number of times. A worker's permanent error is raised in the run that handed out
the work. Two parents that hand out the same work get the same flow run through its idempotency key;
if their groups differ, the locks of the store prevent duplicate work.

A parent that is cancelled or killed by a signal cancels the flow runs it is waiting for.

Read in this order: `parcels` (what is handed out), `liveness` (when a worker counts as lost),
`worker_runs` (what the server knows), `dispatcher` (the loop), `worker` (the receiving end).
"""

from flows.dispatch.dispatcher import hand_out
from flows.dispatch.parcels import Item, Parcel, ParcelSource

__all__ = ["Item", "Parcel", "ParcelSource", "hand_out"]
