"""The laboratory of `benchmarks/controlled.py`: small models, pools with known truth, measures.

Read in this order: `problems` (the twelve sequence tasks and their rows), `pools` (what a pool is
made of), `model` (the small Llama, and many adapters trained side by side), `evidence` (what the
methods select by), `arms` (the methods), `trial` (one seed, start to end), `summary` (intervals),
`plots`.

Shapes: N pool rows, M validation instances, K models trained side by side, B batch, T tokens.
"""
