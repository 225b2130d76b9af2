from .callback import WarmupCallback
from .finetune import load_tuned, trainable_model
from .log import TrainingLog
from .moments import AdamMoments
from .trainer import train
from .warmup import checkpoint_weights, save_checkpoint, warmup_sample

__all__ = [
    "AdamMoments",
    "TrainingLog",
    "WarmupCallback",
    "checkpoint_weights",
    "load_tuned",
    "save_checkpoint",
    "train",
    "trainable_model",
    "warmup_sample",
]
