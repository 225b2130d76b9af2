"""Training: the warmup, whose checkpoints give the gradients, and fine-tuning on the picks.

Read in this order: `trainer` (one training, with transformers' Trainer), `steps` (the rows of each
step), `log`, `packing`, `resuming`, `warmup`, `moments` (Adam's, by parameter name), `finetune`,
`processes` and `launch` (several processes). For warmups run elsewhere: `external`,
`foreign_adapter` (is it our model?), `optimizer_files` and `optimizer_groups` (which parameters do
the moments belong to?), `rates`; `callback` and what it saves (`kept`).
"""

import lazy_loader

# Public names are listed in __init__.pyi and loaded on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
