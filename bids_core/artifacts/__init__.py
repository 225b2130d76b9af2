"""The artifact store: results are named by what made them, and are complete or absent.

Read in this order: `identity` (the name of a result), `small` (files that are read whole), `files`
(checksums, moving into place), `access` (whether the folder is writable), `holders` and `locks`
(which process computes), `drafts` (unfinished results), `provenance` (where a result comes from),
`store`, `ledger` (which runs refer to which artifacts) and `collection` (cleaning).
"""

from bids_core.artifacts.access import require_writable
from bids_core.artifacts.collection import Survey, collect, survey
from bids_core.artifacts.drafts import Draft
from bids_core.artifacts.files import RECORD, file_digest
from bids_core.artifacts.identity import Identity, fingerprint
from bids_core.artifacts.ledger import refer, referred
from bids_core.artifacts.small import (
    LISTED_BYTES,
    parse_json,
    read_small_bytes,
    read_small_json,
    read_small_text,
)
from bids_core.artifacts.store import ArtifactStore, Handle, Obtained, cache_root

__all__ = [
    "LISTED_BYTES", "RECORD", "ArtifactStore", "Draft", "Handle", "Identity", "Obtained", "Survey",
    "cache_root", "collect", "file_digest", "fingerprint", "parse_json", "read_small_bytes",
    "read_small_json", "read_small_text", "refer", "referred", "require_writable", "survey",
]  # fmt: skip
