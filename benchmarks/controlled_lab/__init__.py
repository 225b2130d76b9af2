"""The laboratory of `benchmarks/controlled.py`: small models, pools with known truth, measures.

Read in this order: `problems` (the twelve sequence tasks and their rows), `pools` (the composition
of a pool), `model` (the small Llama, and many adapters trained in parallel), `evidence` (the inputs
of the methods), `arms` (the methods), `trial` (one seed, start to end), `summary` (intervals),
`plots`.

Shapes: N pool rows, M validation instances, K models trained in parallel, B batch, T tokens.
"""
