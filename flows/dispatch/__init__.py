"""Handing work to the workers of a deployment, until the store holds all of it.

The store is the truth: work is done when its artifacts are there and whole, whatever a flow run
says of itself. A flow run that crashed, was cancelled or failed in passing, or whose worker gives
no sign of life (no new artifact, no change of its artifact's lock, no change of state) is handed
out again, a bounded number of times. A worker's permanent error is raised by the run that handed
out the work. Two parents that hand out the same work get the same flow run through its idempotency
key; where their groups differ, the locks of the store keep the work single.

A parent that is cancelled or killed by a signal cancels the flow runs that it waits for.

Read in this order: `parcels` (what is handed out), `liveness` (when a worker counts as lost),
`worker_runs` (what the server knows), `dispatcher` (the loop), `worker` (the other end).
"""

from flows.dispatch.dispatcher import hand_out
from flows.dispatch.parcels import Item, Parcel, ParcelSource

__all__ = ["Item", "Parcel", "ParcelSource", "hand_out"]
