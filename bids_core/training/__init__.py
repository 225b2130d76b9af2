"""Training: the warmup whose checkpoints gradients are computed at, and fine-tuning on the picks.

Read in this order: `trainer` (one training, through transformers' Trainer), `steps` (which rows a
step has), `log`, `packing`, `resuming`, `warmup`, `moments` (Adam's, by parameter name),
`finetune`, `processes` and `launch` (several processes). Warmups that were run elsewhere:
`external`, `foreign_adapter` (is it our model?), `optimizer_files` and `optimizer_groups` (whose
moments are these?), `rates`; `callback` and what it keeps (`kept`).
"""

import lazy_loader

# What others import from here is listed in __init__.pyi, and loaded when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
