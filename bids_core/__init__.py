"""BIDS: balanced, influence-based selection of instruction-tuning data (the library)."""

import logging

# On a CPU, importing bitsandbytes (peft does, if it is there) says that a faster kernel is missing.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
