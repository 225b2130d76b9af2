"""Run by two processes: a LoRA model sharded with FSDP2 takes AdamW steps and is saved.

python -m torch.distributed.run --nproc-per-node 2 sharded_job.py MODEL FOLDER
"""

import sys
from pathlib import Path

import torch
from torch.distributed.fsdp import fully_shard

from bids_core.config import LoraConfig, ModelConfig
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base
from bids_core.training.warmup import save_checkpoint

STEPS = 3


def trained(folder: str, *, sharded: bool):
    """Return (model, optimizer) after a few steps on the same made-up batch."""
    config = ModelConfig(path=folder, dtype="float32", device="cpu")
    model = add_lora(load_base(config), LoraConfig(r=3, dropout=0.0), seed=0)
    if sharded:
        for layer in model.get_base_model().model.layers:
            fully_shard(layer)
        fully_shard(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 40, (4, 12), generator=generator)
    for _ in range(STEPS):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    save_checkpoint(Path(sys.argv[2]), *trained(sys.argv[1], sharded=True))
    torch.distributed.destroy_process_group()
