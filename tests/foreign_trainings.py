"""Trainings as other people run them: the plain Trainer and TRL, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_core.training.moments import AdamMoments

ROWS = [
    {"prompt": f"add {a} plus {b}?", "completion": str(a + b)}
    for a, b in ((n, (n * 7) % 23) for n in range(12))
]


class Live:
    """What a training had in its optimizer at the end of each epoch, by parameter name."""

    def __init__(self) -> None:
        self.moments: list[AdamMoments] = []
        self.rates: list[list[float]] = [[]]
        self.groups: list[int] = []
        self.model: Any = None

    def callback(self) -> Any:
        """Return a Trainer callback that fills it, by identity of the parameters."""
        from transformers import TrainerCallback

        live = self

        class Watch(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, **kwargs):
                live.rates[-1].append(float(kwargs["optimizer"].param_groups[0]["lr"]))

            def on_epoch_end(self, args, state, control, **kwargs):
                optimizer = kwargs["optimizer"]
                first, second, step = {}, {}, 0
                for name, parameter in kwargs["model"].named_parameters():
                    if parameter.requires_grad:
                        held = optimizer.state[parameter]
                        first[name] = held["exp_avg"].detach().float().clone()
                        second[name] = held["exp_avg_sq"].detach().float().clone()
                        step = int(held["step"])
                group = optimizer.param_groups[0]
                live.groups = [len(one["params"]) for one in optimizer.param_groups]
                live.moments.append(AdamMoments(first, second, group["betas"], group["eps"], step))
                live.rates.append([])

        return Watch()


def adapter(**changes: Any) -> Any:
    """Return LoRA with two kinds of parameters: adapters, and a norm that is not decayed."""
    import peft

    settings = {
        "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": ["norm"], "task_type": "CAUSAL_LM",
    }  # fmt: skip
    return peft.LoraConfig(**(settings | changes))


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return training arguments as a user would give them."""
    settings = {
        "output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 4,
        "learning_rate": 1e-2, "weight_decay": 0.1, "lr_scheduler_type": "linear",
        "warmup_steps": 1, "logging_steps": 1, "save_strategy": "epoch", "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "seed": 0, "adam_beta2": 0.99, "bf16": False,
    }  # fmt: skip
    return settings | changes


def run_trainer(
    model_folder: Path, folder: Path, *, lora=None, callbacks=(), live=True, **changes
) -> Live:
    """Train with transformers' Trainer; `live` only where the optimizer is torch's AdamW."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    torch.manual_seed(0)
    model = peft.get_peft_model(model, adapter() if lora is None else lora)
    watch, live = live, Live()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(folder, **changes)),
        train_dataset=[_encoded(tokenizer, row) for row in ROWS],
        data_collator=lambda rows: {
            name: torch.tensor([row[name] for row in rows]) for name in rows[0]
        },
        processing_class=tokenizer,
        callbacks=[*([live.callback()] if watch else []), *callbacks],
    )
    trainer.train()
    live.model = trainer.model
    return live


def run_trl(model_folder: Path, folder: Path, *, lora=None, callbacks=(), **changes) -> Live:
    """Train with TRL's SFTTrainer."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    live = Live()
    trainer = SFTTrainer(
        model=str(model_folder),
        args=SFTConfig(**arguments(folder, **changes), model_init_kwargs={"dtype": torch.float32}),
        train_dataset=Dataset.from_list(ROWS),
        peft_config=adapter() if lora is None else lora,
        callbacks=[live.callback(), *callbacks],
    )
    trainer.train()
    live.model = trainer.model
    return live


def _encoded(tokenizer: Any, row: dict[str, str]) -> dict[str, list[int]]:
    ids = tokenizer(f"{row['prompt']} {row['completion']}")["input_ids"]
    ids = ids[:24]
    padding = 24 - len(ids)
    return {
        "input_ids": ids + [0] * padding,
        "attention_mask": [1] * len(ids) + [0] * padding,
        "labels": ids + [-100] * padding,
    }


def examples(count: int = 5) -> list[Any]:
    """Return tokenized rows to take features of."""
    from bids_core.records import TokenizedExample

    ids = np.arange(5, 17, dtype=np.int32)
    return [
        TokenizedExample(
            f"r{i}", ids + i, np.where(np.arange(12) < 5, -100, ids + i).astype(np.int32)
        )
        for i in range(count)
    ]
