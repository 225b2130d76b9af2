"""The benchmark suites, as lm-eval defines them.

Read in this order: `tasks` (the tasks of each suite), `loading`, `leakage` (excludes validation
instances), `model` (runs them), `scores`; `vllm` is another backend.
"""

import lazy_loader

# The public names are listed in __init__.pyi and imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
