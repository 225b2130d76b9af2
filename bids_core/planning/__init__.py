"""What a run will cost: `cost` (time, disk), `footprint` (memory), `recipes` (ready settings)."""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
