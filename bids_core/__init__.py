"""BIDS: balanced, influence-based selection of instruction-tuning data (the library)."""
