"""Training in several processes, one per GPU, through accelerate: warmup and fine-tuning.

The job is written to a file and launched; each process then runs `main` of this file on all the
data, and accelerate's Trainer gives it its share. The first process writes the result. With `fsdp`,
weights, gradients and Adam's state are sharded over the processes, so that no GPU has to hold the
whole model; when they are written, they are gathered by parameter name.

The result is that of one process, up to rounding and the order of the examples; if their number is
not a multiple of the processes, a few are seen twice in an epoch.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from bids_core.artifacts.failures import Failure
from bids_core.config import FinetuneConfig, LoraConfig, ModelConfig, WarmupConfig
from bids_core.errors import BidsError, WorkerError
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.config import Section
    from bids_core.progress import Progress

Sharding = Literal["none", "fsdp"]

logger = logging.getLogger(__name__)

_PROGRESS: Final = "@progress "
_RESULT: Final = "result.json"
_FAILURES: Final = "failure-{}.json"  # of each process, by rank
_LAST_LINES: Final = 60  # a traceback, with the launcher's own summary below it


def warmup_in_processes(
    model: ModelConfig,
    lora: LoraConfig,
    settings: WarmupConfig,
    *,
    data: Path,
    seed: int,
    folder: Path,
    scratch: Path,
    processes: int,
    sharding: Sharding = "none",
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Run `bids_core.training.warmup.warmup` in several processes.

    Args:
        model: base model.
        lora: adapters.
        settings: as for `warmup`.
        data: folder of the prepared data.
        seed: as for `warmup`, and of the adapters.
        folder: where the checkpoints are written.
        scratch: for temporary files.
        processes: how many, on this machine.
        sharding: `none` (each holds the model) or `fsdp`.
        on_progress: as for `warmup`.

    Returns:
        The summary of `warmup`, and `processes`.

    Raises:
        BidsError: a process ended with it.
        WorkerError: a process failed in another way; with the last error it wrote.
    """
    sections = {"model": model, "lora": lora, "settings": settings}
    spec = {"data": str(data), "seed": seed, "folder": str(folder), "sharding": sharding}
    return _run("warmup", sections, spec, scratch, processes, on_progress)


def finetune_in_processes(
    model: ModelConfig,
    lora: LoraConfig,
    settings: FinetuneConfig,
    *,
    data: Path,
    row_ids: Sequence[str],
    seed: int,
    folder: Path,
    scratch: Path,
    curves: Path,
    run_name: str,
    processes: int,
    sharding: Sharding = "none",
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Run `bids_core.training.finetune.finetune` in several processes.

    Args:
        model: base model.
        lora: adapters.
        settings: as for `finetune`.
        data: folder of the prepared data.
        row_ids: rows to train on.
        seed: as for `finetune`, and of the adapters.
        folder: where `adapter/` or `model/` is written.
        scratch: as for `finetune`: a killed training continues from there, in the same number of
            processes.
        curves: folder for TensorBoard's files.
        run_name: name of the loss curves.
        processes: how many, on this machine.
        sharding: `none` (each holds the model) or `fsdp`.
        on_progress: as for `finetune`.

    Returns:
        The summary of `finetune`, and `processes`.

    Raises:
        BidsError: a process ended with it.
        WorkerError: a process failed in another way; with the last error it wrote.
    """
    sections = {"model": model, "lora": lora, "settings": settings}
    spec = {
        "data": str(data),
        "row_ids": list(row_ids),
        "seed": seed,
        "folder": str(folder),
        "curves": str(curves),
        "run_name": run_name,
        "sharding": sharding,
    }
    return _run("finetune", sections, spec, scratch, processes, on_progress)


def _run(
    kind: str,
    sections: Mapping[str, Section],
    spec: Mapping[str, Any],
    scratch: Path,
    processes: int,
    on_progress: Progress,
) -> dict[str, Any]:
    """Write the job to a file, run it, and read the result."""
    scratch.mkdir(parents=True, exist_ok=True)
    job = scratch / "job.json"
    dumped = {name: section.model_dump(mode="json") for name, section in sections.items()}
    text = json.dumps({"kind": kind, **dumped, **spec, "scratch": str(scratch)})
    job.write_text(text, encoding="utf-8")
    _launch(_command(job, processes), scratch, on_progress)
    result: dict[str, Any] = json.loads((scratch / _RESULT).read_text(encoding="utf-8"))
    return result


def _command(job: Path, processes: int) -> list[str]:
    """Return the command that starts the processes, with torch's launcher."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", str(processes), "-m", "bids_core.training.launch", str(job),
    ]  # fmt: skip


def _launch(command: list[str], scratch: Path, on_progress: Progress) -> None:
    """Run the launcher, pass on its progress, and raise the error of a failed process."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for old in scratch.glob(_FAILURES.format("*")):
        old.unlink()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        try:
            for line in process.stdout:
                if line.startswith(_PROGRESS):
                    done, total = line.removeprefix(_PROGRESS).split()
                    on_progress(int(done), int(total))
                else:
                    last.append(line.rstrip())
        except BaseException:
            os.killpg(process.pid, 15)
            raise
    if process.returncode:
        raise _error(scratch, last, process.returncode)


def _error(scratch: Path, last: Sequence[str], status: int) -> BidsError:
    """Return the error that ended a process: one of ours if there is one, otherwise the first.

    When one process fails, the others fail too, because they wait for it.
    """
    files = sorted(scratch.glob(_FAILURES.format("*")), key=lambda file: file.stat().st_mtime_ns)
    found = [failure for file in files if (failure := Failure.from_json(file.read_bytes()))]
    for failure in found:
        if failure.is_ours:
            return failure.error()
    logger.warning("the training's last output:\n%s", "\n".join(last))
    said = found[0] if found else "it printed nothing; a killed process may have run out of memory"
    return WorkerError(f"a process of the training ended with status {status}: {said}")


def main(job: Path) -> None:
    """Run in each process: train; the first process writes the result.

    A process that fails writes its error to a file, for the parent to raise.
    """
    spec = json.loads(job.read_text(encoding="utf-8"))
    try:
        _train(spec)
    except Exception as error:
        file = Path(spec["scratch"], _FAILURES.format(os.environ["RANK"]))
        file.write_text(Failure.of(error).to_json(), encoding="utf-8")
        raise


def _train(spec: dict[str, Any]) -> None:
    import torch

    from bids_core.training.processes import is_first_process

    device = "cpu"
    if torch.cuda.is_available() and spec["sharding"] == "none":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    model = ModelConfig.model_validate(spec["model"]).model_copy(update={"device": device})
    lora = LoraConfig.model_validate(spec["lora"])
    first = is_first_process()
    train = _warmup if spec["kind"] == "warmup" else _finetune
    result = train(spec, model, lora, _report if first else silent)
    if first:
        result["processes"] = torch.distributed.get_world_size()
        (Path(spec["scratch"]) / _RESULT).write_text(json.dumps(result), encoding="utf-8")
    torch.distributed.destroy_process_group()


def _report(done: int, total: int) -> None:
    sys.stdout.write(f"{_PROGRESS}{done} {total}\n")
    sys.stdout.flush()


def _warmup(
    spec: dict[str, Any], model: ModelConfig, lora: LoraConfig, on_progress: Progress
) -> dict[str, Any]:
    from bids_core.data import PreparedData
    from bids_core.models.adapters import add_lora
    from bids_core.models.load import load_base, load_tokenizer
    from bids_core.training.warmup import warmup

    return warmup(
        add_lora(load_base(model), lora, seed=spec["seed"]),
        PreparedData.load(Path(spec["data"])).train.examples(),
        WarmupConfig.model_validate(spec["settings"]),
        pad_token_id=load_tokenizer(model).pad_token_id,
        seed=spec["seed"],
        folder=Path(spec["folder"]),
        scratch=Path(spec["scratch"]) / f"rank-{os.environ['RANK']}",
        sharded=spec["sharding"] == "fsdp",
        on_progress=on_progress,
    )


def _finetune(
    spec: dict[str, Any], model: ModelConfig, lora: LoraConfig, on_progress: Progress
) -> dict[str, Any]:
    from bids_core.data import PreparedData
    from bids_core.models.load import load_tokenizer
    from bids_core.training.finetune import finetune, loss_curves, trainable_model
    from bids_core.training.processes import is_first_process

    settings = FinetuneConfig.model_validate(spec["settings"])
    chosen = set(spec["row_ids"])
    trained, autocast = trainable_model(model, lora, settings, seed=spec["seed"])
    reporters = settings.report_to if is_first_process() else ()
    return finetune(
        trained,
        [e for e in PreparedData.load(Path(spec["data"])).train.examples() if e.row_id in chosen],
        settings,
        pad_token_id=load_tokenizer(model).pad_token_id,
        seed=spec["seed"],
        folder=Path(spec["folder"]),
        scratch=Path(spec["scratch"]),  # in every process: each one writes its part of a checkpoint
        sharded=spec["sharding"] == "fsdp",
        autocast=autocast,
        callbacks=loss_curves(reporters, folder=Path(spec["curves"])),
        run_name=spec["run_name"],
        on_progress=on_progress,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
