"""The input of `bids audit`: a run's folder, a configuration that was run, or a matrix file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bids_core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from bids_core.influence.files import LabelledMatrix
    from tasks.manifest import Manifest

_SECTIONS: Final = ("model", "pool", "validation", "data", "lora", "warmup", "gradients", "seed")
"""Parts of a configuration that determine its attribution matrix."""


@dataclass(frozen=True)
class AuditInput:
    """The data to audit.

    Args:
        labelled: the matrix and its labels.
        texts: of the training rows, if known.
        budget: of the run; None for a matrix.
    """

    labelled: LabelledMatrix
    texts: list[str] | None
    budget: int | float | None


def open_target(
    target: Path, *, tasks: Path | None, sources: Path | None, texts: Path | None
) -> AuditInput:
    """Open what the user named.

    Raises:
        UserError: it is none of the three, or the run has no attribution matrix.
    """
    from flows.commands.explain_input import damaged_in_one_line

    if target.suffix.lower() in (".yaml", ".yml"):
        return _of_run(_folder_of(target))
    if (target / "manifest.json").is_file():
        with damaged_in_one_line(target):
            return _of_run(target)
    if target.is_dir() and not (target / "zarr.json").is_file():
        _manifest(target)  # raises that there is none
    from bids_core.selection.signal_files import read_texts
    from flows.commands.matrix_input import open_labelled

    labelled = open_labelled(target, tasks, sources)
    return AuditInput(labelled, None if texts is None else list(read_texts(texts)[1]), None)


def _folder_of(config: Path) -> Path:
    """Return a configuration's run folder; refuse one made from another configuration."""
    from bids_core.config.load import load_config

    settings = load_config(config, [])
    folder = settings.output_dir / settings.name
    if not (folder / "manifest.json").is_file():
        msg = f"{config} has not been run yet; run `bids run {config} --until selection` first"
        raise UserError(msg)
    ran, now = _manifest(folder).settings, settings.model_dump(mode="json")
    changed = [name for name in _SECTIONS if ran.get(name) != now[name]]
    if changed:
        msg = (
            f"{config}: {', '.join(changed)} changed since {folder} was made; run `bids run "
            f"{config} --until selection` again, or audit the folder as it is"
        )
        raise UserError(msg)
    return folder


def _of_run(folder: Path) -> AuditInput:
    from bids_core.artifacts import Handle
    from bids_core.data import PreparedData
    from bids_core.influence.files import read_matrix

    manifest = _manifest(folder)
    result = manifest.result
    if result.get("matrix") is None:
        msg = f"{folder}: the run has no attribution matrix yet; run it at least until attribution"
        raise UserError(msg)
    labelled = read_matrix(next(iter(Handle(**result["matrix"]).path().glob("*.zarr"))))
    train = PreparedData.load(Handle(**result["data"]).path()).train
    texts = dict(zip(train.row_ids, train.texts(), strict=True))
    source = dict(zip(train.row_ids, train.frame["source"], strict=True))
    ids = list(labelled.matrix.row_ids or ())
    labels = replace(labelled.labels, sources=tuple(str(source[row_id]) for row_id in ids))
    return AuditInput(
        replace(labelled, labels=labels),
        [texts[row_id] for row_id in ids],
        manifest.settings["selection"]["budget"],
    )


def _manifest(folder: Path) -> Manifest:
    from tasks.manifest import read_manifest

    return read_manifest(folder)
