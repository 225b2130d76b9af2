"""From files to tokenized rows: formats, chat template, completion mask, rejects, overlap.

Reading order: `locate` (paths to files), `llamafactory` and `axolotl` (other tools' descriptions of
them), `reading` and `hub` (files to rows), `formats`, `turns`, `tools`, `mapping` and
`conversation` (rows to conversations), `convert` and `ingest` (to examples, every row accounted
for), `chat`, `literal` and `tokenization` (to tokens, labels and weights), `overlap`, `splits`,
`summary`, and `prepare`, which calls them all. `rejects` and `notes` list what can be said of a
row.
"""

from bids_core.data.batches import collate, token_budget_batches
from bids_core.data.conversation import completion_text, from_json, prompt_messages, to_json
from bids_core.data.formats import FORMATS
from bids_core.data.notes import NOTES
from bids_core.data.prepare import prepare
from bids_core.data.rejects import REASONS, RejectedRow
from bids_core.data.sources import input_digests
from bids_core.data.splits import PreparedData, Split
from bids_core.data.template_args import with_template_args
from bids_core.data.tokenization import tokenize_example

__all__ = [
    "FORMATS",
    "NOTES",
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
    "with_template_args",
]
