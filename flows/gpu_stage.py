"""The work of a GPU worker besides gradients: one training, one evaluation, one measurement."""

from __future__ import annotations

from inspect import signature
from typing import Any, Final, Literal, get_type_hints

from prefect import flow
from pydantic import TypeAdapter, ValidationError

from bids_core.artifacts import Handle
from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from flows.admission import admit
from flows.cancelling import cancellable
from flows.dispatch.worker import telling_failures
from tasks.evaluation import run_evaluation
from tasks.finetune import run_finetune
from tasks.losses import run_losses
from tasks.runtime.run_logs import run_logs
from tasks.runtime.stage import StageTask
from tasks.steps import run_steps
from tasks.warmup import run_warmup

GpuStage = Literal["warmup", "finetune", "evaluation", "steps", "losses"]
TASKS: Final[dict[GpuStage, StageTask[Any]]] = {
    "warmup": run_warmup,
    "finetune": run_finetune,
    "evaluation": run_evaluation,
    "steps": run_steps,
    "losses": run_losses,
}


@flow(name="gpu-stage", validate_parameters=True, persist_result=False)
def gpu_stage(config: RunConfig, stage: GpuStage, arguments: dict[str, Any]) -> Handle:
    """Run one stage that trains, evaluates or measures.

    Args:
        config: the whole configuration of the requesting run.
        stage: which one.
        arguments: arguments of the stage's task besides the configuration, by name.
    """
    with cancellable(), run_logs(), telling_failures(config):
        checked = _checked(stage, arguments)
        admit(config, *(value for value in checked.values() if isinstance(value, Handle)))
        handle: Handle = TASKS[stage](config, **checked)
        return handle


def _checked(stage: GpuStage, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, converted to the types declared by the task."""
    function = TASKS[stage].fn
    hints = get_type_hints(function)
    wanted = [name for name in signature(function).parameters if name != "config"]
    unknown = sorted(set(arguments) - set(wanted))
    if unknown:
        msg = f"arguments: {stage} takes {', '.join(wanted)}, not {', '.join(unknown)}"
        raise ConfigError(msg)
    try:
        return {
            name: TypeAdapter(hints[name]).validate_python(value)
            for name, value in arguments.items()
        }
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"arguments of {stage}: {first['msg']} (got {first['input']!r})"
        raise ConfigError(msg) from error
