"""The measurements of benchmarks/gpu.py.

In reading order: `device` (its peak, its memory, its clock), `models` (Llamas of random weights),
`parity`, `speed`, `kernels`, `halving`, `products` (attribution); `table` prints all of it.
"""

import sys
from pathlib import Path

# a bare machine has the checkout's folders, but our package is not installed
sys.path.append(str(Path(__file__).parents[2]))
