from .send import log_to_mlflow, log_to_wandb, push_to_hub

__all__ = ["log_to_mlflow", "log_to_wandb", "push_to_hub"]
