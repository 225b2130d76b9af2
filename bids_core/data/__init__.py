"""From files to tokenized rows: formats, chat template, completion mask, rejects, overlap.

Reading order: `locate` (paths to files), `reading` and `hub` (files to rows), `formats`, `mapping`
and `conversation` (rows to conversations), `convert` and `ingest` (to examples, every row accounted
for), `chat` and `tokenization` (to tokens and labels), `overlap`, `splits`, `summary`, and
`prepare`, which calls them all.
"""

from bids_core.data.batches import collate, token_budget_batches
from bids_core.data.conversation import completion_text, from_json, prompt_messages, to_json
from bids_core.data.prepare import prepare
from bids_core.data.rejects import REASONS, RejectedRow
from bids_core.data.sources import input_digests
from bids_core.data.splits import PreparedData, Split
from bids_core.data.tokenization import tokenize_example

__all__ = [
    "REASONS",
    "PreparedData",
    "RejectedRow",
    "Split",
    "collate",
    "completion_text",
    "from_json",
    "input_digests",
    "prepare",
    "prompt_messages",
    "to_json",
    "token_budget_batches",
    "tokenize_example",
]
