"""The artifact store: results named by what made them, there whole or not at all.

Read in this order: `identity` (the name of a result), `files` (checksums, moving into place),
`locks` (who computes), `provenance` (what a record says), `store`.
"""

from bids_core.artifacts.files import RECORD, file_digest
from bids_core.artifacts.identity import fingerprint
from bids_core.artifacts.store import ArtifactStore, Draft, Handle, cache_root

__all__ = [
    "RECORD",
    "ArtifactStore",
    "Draft",
    "Handle",
    "cache_root",
    "file_digest",
    "fingerprint",
]
