"""The benchmark suites, as lm-eval defines them.

Read in this order: `tasks` (which tasks a suite has), `loading`, `leakage` (no validation instance
among them), `model` (what runs them), `scores`; `vllm` is another backend.
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
