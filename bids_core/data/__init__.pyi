from .batches import collate, token_budget_batches
from .bounded import read_table, require_bounded
from .bounded_zarr import bounded_array, open_zarr, open_zarr_group
from .conversation import completion_text, from_json, prompt_messages, to_json
from .doubtful import doubts
from .formats import FORMATS
from .notes import NOTES
from .preparation import prepare
from .rejects import REASONS, RejectedRow
from .sources import input_digests
from .splits import PreparedData, Split
from .template_args import with_template_args
from .tokenization import tokenize_example

__all__ = [
    "FORMATS",
    "NOTES",
    "REASONS",
    "PreparedData",
    "RejectedRow",
    "Split",
    "bounded_array",
    "collate",
    "completion_text",
    "doubts",
    "from_json",
    "input_digests",
    "open_zarr",
    "open_zarr_group",
    "prepare",
    "prompt_messages",
    "read_table",
    "require_bounded",
    "to_json",
    "token_budget_batches",
    "tokenize_example",
    "with_template_args",
]
