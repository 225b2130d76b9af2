"""BIDS: balanced, influence-based selection of instruction-tuning data (the library).

from bids_core import analyze, explain, select

picks = select("matrix.parquet", 0.15)          # from an attribution matrix to the best rows
found = analyze("matrix.parquet", picks)        # what the pool and the picks influence
explain("matrix.parquet", picks, picks[0].row)  # why a row was picked or not
"""

import logging

import lazy_loader

# On a CPU, bitsandbytes (imported by peft if installed) warns that a faster kernel is missing.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
