"""Training: the warmup whose checkpoints gradients are taken at, and fine-tuning on the picks.

Read in this order: `trainer` (one training, through transformers' Trainer), `steps` (which rows a
step has), `log`, `packing`, `resuming`, `warmup`, `moments` (Adam's, by parameter name),
`finetune`, `processes` and `launch` (several processes).
"""
