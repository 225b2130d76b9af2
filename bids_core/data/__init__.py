"""From files to tokenized rows: formats, chat template, completion mask, rejects, overlap.

Reading order: `locate` (paths to files), `llamafactory` and `axolotl` (other tools' descriptions of
them), `reading`, `hub` and `packed_arrow` (files to rows, within the limits
of `bounded`; `bounded_zarr` does the same for arrays), `formats`, `turns`, `tools`, `mapping` and
`conversation` (rows to conversations), `convert` and `ingest` (to examples, every row accounted
for), `templates` and `chat_template` (turns to text, at a bounded cost), `answers` and `left_out`
(where the answers are in it, and what is missing), `chat`, `literal` and `tokenization` (to tokens,
labels and weights), `overlap`, `splits`, `summary`, and `preparation`, which calls them all.
`rejects`, `costly` and `notes` list what can be said of a row.

What the names below need is imported when one of them is first asked for.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
