"""Sends the selected data of a run elsewhere: the Hugging Face hub, W&B, MLflow.

Nothing here runs unless the configuration's `output` section asks for it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, cast

from bids_core.errors import ConfigError, PublishError

if TYPE_CHECKING:
    from pathlib import Path

    from bids_core.config import OutputConfig

_TAG: Final = "bids.selection"
_LEFT_OUT: Final = ("dataset/*",)
"""Not uploaded to the hub: the same rows in the format of `save_to_disk`."""


def require_publishers(output: OutputConfig) -> None:
    """Check before anything is computed that the packages needed for publishing are installed.

    Raises:
        ConfigError: one is missing.
    """
    wanted = {"wandb": output.wandb_project, "mlflow": output.mlflow_experiment}
    for package, target in wanted.items():
        if target is not None and find_spec(package) is None:
            msg = f"output: {package} is not installed; run `pip install {package}`"
            raise ConfigError(msg)


def push_to_hub(
    folder: Path, repository: str, *, private: bool, message: str, endpoint: str | None = None
) -> str:
    """Upload the selected data and its card as a data set on the hub.

    Args:
        folder: with `README.md` and the methods' files.
        repository: `org/name`; created if missing.
        private: whether a newly created one is private.
        message: of the commit.
        endpoint: another hub than huggingface.co.

    Returns:
        The address of the data set.

    Raises:
        PublishError: the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi(endpoint=endpoint)
    # the error class of whichever HTTP client the hub's library uses
    transport = cast("type[Exception]", HfHubHTTPError.__mro__[1])
    try:
        url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            folder_path=folder,
            repo_id=repository,
            repo_type="dataset",
            commit_message=message,
            ignore_patterns=list(_LEFT_OUT),
        )
    except (transport, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = (
            f"output.push_to_hub: {repository} could not be written ({reason}); the run folder is "
            "complete: log in (`hf auth login`), check the name, and run again"
        )
        raise PublishError(msg) from error
    return str(url)


def log_to_mlflow(folder: Path, experiment: str, *, name: str, digest: str) -> str:
    """Log the selected data as artifacts of an MLflow run, once for each selection.

    Args:
        folder: with the methods' files.
        experiment: created if missing.
        name: of the run.
        digest: of the selection; an existing run with the same digest is reused.

    Returns:
        The id of the MLflow run.
    """
    import mlflow

    mlflow.set_experiment(experiment)
    known = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.`{_TAG}` = '{digest}'"
    )
    if len(known):
        return str(known.iloc[0]["run_id"])
    with mlflow.start_run(run_name=name, tags={_TAG: digest}) as run:
        mlflow.log_artifacts(str(folder), artifact_path="selected")
        return str(run.info.run_id)


def log_to_wandb(folder: Path, project: str, *, name: str, digest: str) -> str:
    """Log the selected data as a W&B artifact; W&B keeps one version of identical content.

    Args:
        folder: with the methods' files.
        project: created if missing.
        name: of the run and the artifact.
        digest: of the selection, for its metadata.

    Returns:
        The name of the artifact.
    """
    import wandb

    with wandb.init(project=project, name=name, job_type="selection") as run:
        artifact = wandb.Artifact(name, type="dataset", metadata={_TAG: digest})
        artifact.add_dir(str(folder))
        run.log_artifact(artifact)
    return name
