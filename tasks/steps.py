"""Stage `steps`: the effect of single optimizer steps on validation losses, for part of a sample.

Each part is its own artifact, so that an interrupted measurement can continue, and a larger sample
reuses the smaller one's parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np
from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.slices import sliced
from bids_core.diagnostics.single_steps import GradientFeature, StepSettings, measure_steps
from bids_core.errors import ConfigError
from bids_core.gradients import make_projector, trainable_slots
from bids_core.models.adapters import last_layer_names
from bids_core.models.load import load_tokenizer
from bids_core.training.warmup import epoch_rates
from tasks.gradients import LoadedCheckpoint, release_model
from tasks.prepare import load_prepared, rows_digest
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    import numpy.typing as npt
    from peft import PeftModel

    from bids_core.gradients import Projector
    from bids_core.progress import Progress

VERSION: Final = 1
STEPS: Final = "steps"
PART_ROWS: Final = 16
"""Rows of a part: the most that is lost when a measurement is killed."""

_loaded = LoadedCheckpoint()


class StepRows(BaseModel):
    """A part of the sampled rows, and the step taken on each."""

    model_config = ConfigDict(frozen=True)

    checkpoint: int
    """Number of the warmup checkpoint, from 1."""
    learning_rate: float
    """Learning rate of the steps."""
    rows: tuple[int, ...]
    """Indices in the training pool."""
    part: int = 0
    """Number of the part, from 1, for display."""
    parts: int = 0
    """How many parts there are."""

    @property
    def label(self) -> str:
        """Display name."""
        return f"single steps, part {self.part} of {self.parts}"


def plan_steps(
    warm: Handle,
    pool: list[str],
    there: list[str],
    *,
    rows: int,
    checkpoint: int,
    learning_rate: float | None,
    seed: int,
) -> list[StepRows]:
    """Return the parts of a random sample of the pool.

    Args:
        warm: the warmup.
        pool: ids of all prepared rows.
        there: ids of those that have influence.
        rows: how many to sample; all if there are fewer.
        checkpoint: from 1.
        learning_rate: of the steps; None: the mean rate of the checkpoint's epoch.
        seed: of the sample.
    """
    place = {row_id: index for index, row_id in enumerate(pool)}
    drawn = np.random.default_rng([seed, 0x5E]).permutation(len(there))[:rows]
    chosen = [place[there[int(index)]] for index in drawn]
    rate = _mean_rate(warm, checkpoint) if learning_rate is None else learning_rate
    cut = [tuple(chosen[start : start + PART_ROWS]) for start in range(0, len(chosen), PART_ROWS)]
    return [
        StepRows(checkpoint=checkpoint, learning_rate=rate, rows=part, part=number, parts=len(cut))
        for number, part in enumerate(cut, start=1)
    ]


def identify(config: RunConfig, data: Handle, warm: Handle, part: StepRows) -> Identity:
    """Return the identity of the steps: rows, validation rows, checkpoint, step, feature."""
    frame = load_prepared(data).train.frame.iloc[list(part.rows)]
    return Identity(
        "steps",
        VERSION,
        config=sliced(config, "steps") | {"learning_rate": part.learning_rate},
        inputs={
            "warmup": warm.fingerprint,
            "checkpoint": part.checkpoint,
            "rows": rows_digest(frame),
            "validation": data.summary()["digests"]["validation"],
        },
        seed=config.seed,
        uses=(data.key, warm.key),
    )


def compute(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    part: StepRows,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Take a step on each row, in float32; measure and predict all validation losses."""
    release_model()
    section = config.gradients
    exact = config.model_copy(
        update={
            "model": config.model.model_copy(update={"dtype": "float32"}),
            "gradients": section.model_copy(update={"layers": None}),
        }
    )
    model, moments, projector = _loaded.get(exact, warm, part.checkpoint)
    if moments is None:
        msg = (
            "bids validate takes Adam steps, but the warmup's checkpoints have no optimizer "
            "state; give checkpoints with one (docs/warmups.md)"
        )
        raise ConfigError(msg)
    if section.layers is not None:
        projector = _projector_of_last(config, model, section.layers)
    prepared = load_prepared(data)
    pool = prepared.train.examples()
    known = section.train_feature in ("adam", "sgd", "sign") and section.metric != "fisher"
    found = measure_steps(
        model,
        [pool[row] for row in part.rows],
        prepared.validation.examples(),
        StepSettings(
            learning_rate=part.learning_rate,
            weight_decay=float(warm.summary().get("weight_decay", config.warmup.weight_decay)),
            feature=cast("GradientFeature", section.train_feature) if known else None,
            adam_mode=section.adam_mode,
            dot=section.metric == "dot",
            layers=section.layers,
            storage=section.storage,
            tokens_per_batch=section.tokens_per_batch,
            pad_token_id=load_tokenizer(config.model).pad_token_id,
        ),
        moments=moments,
        projector=projector,
        on_progress=progress,
    )
    folder = draft.path / STEPS
    folder.mkdir()
    for name, values in found.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    draft.summary |= part.model_dump(exclude={"part", "parts"}) | {"predictions": sorted(found)}


run_steps = stage_task(
    "steps", identify, compute, label="{part.label}", unit="rows", task_run_name="{part.label}"
)


def _projector_of_last(config: RunConfig, model: PeftModel, layers: int) -> Projector:
    """Return the projector that the run uses for the gradients of the last layers."""
    names = set(last_layer_names(model, layers))
    size = sum(slot.numel for slot in trainable_slots(model) if slot.name in names)
    section = config.gradients
    return make_projector(section.projection, size, section.dim, config.seed)


def read_steps(handle: Handle) -> dict[str, npt.NDArray[np.float64]]:
    """Return the measurements and predictions of a part, by name."""
    folder = handle.path() / STEPS
    return {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}


def release_steps_model() -> None:
    """Free the memory of the model that the last part used."""
    _loaded.clear()


def _mean_rate(warm: Handle, checkpoint: int) -> float:
    summary = warm.summary()
    return epoch_rates(summary["learning_rates"], summary["epochs"])[checkpoint - 1]
