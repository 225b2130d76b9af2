"""Publishing selected data and tuned models: cards (`dataset_card`, `model_card`) and `send`."""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
