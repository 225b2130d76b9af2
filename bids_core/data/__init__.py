"""From files to tokenized rows: formats, chat template, completion mask, rejects, overlap.

Reading order: `locate` (paths to files), `llamafactory` and `axolotl` (other tools' dataset
descriptions), `reading`, `hub` and `packed_arrow` (files to rows, within the limits of `bounded`;
`bounded_zarr` does the same for arrays, `hub_rate` for downloads), `formats`, `turns`, `tools`,
`mapping` and `conversation` (rows to conversations), `convert` and `ingest` (conversations to
examples, with every row accounted for), `templates` and `chat_template` (turns to text, at a
bounded cost), `answers` and `left_out` (where the answers are in the text, and what is missing),
`chat`, `literal` and `tokenization` (text to tokens, labels and weights), `overlap`, `splits`,
`summary`, and `preparation`, which calls them all. `doubtful` names probable mistakes. `rejects`,
`costly` and `notes` define what can be reported about a row.
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
