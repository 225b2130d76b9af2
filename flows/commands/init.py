"""`bids init`: a configuration that runs, from options and answers; or a commented starter."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from bids_core.errors import ConfigError, UserError
from flows.commands.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.commands.init_data import Looked
    from flows.commands.init_yaml import Answers

T = TypeVar("T")

_MODEL: Final = "bundled:smollm2-135m-instruct"
_BUDGET: Final = "0.15"


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIRECTORY]", help="Folder to write into.")
    ] = Path(),
    pool: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Training rows to select from: a file, a folder, a pattern or a hub data "
            "set (hf:org/name); may be repeated.",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            "--validation",
            "--skills",
            metavar="PATH",
            help="Examples of what the model should be good at: one file per task, a folder of "
            "such files, or TASK=FILE; may be repeated.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Held-out rows to score on, in the same forms."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help=f"A folder or a hub name. (default: {_MODEL})"),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help=f"How many rows: 500, 0.15 or 15%. (default: {_BUDGET})"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite bids.yaml.")] = False,
) -> None:
    """Write a configuration, bids.yaml: from the options, or from answers to a few questions.

    On a terminal it asks for whatever the options leave open. Elsewhere, without options, it
    writes a commented starter to edit.
    """
    from flows.commands.out_path import on_terminal

    if directory.exists() and not directory.is_dir():
        msg = f"{directory} is a file; name the folder to write bids.yaml into"
        raise UserError(msg)
    target = directory / "bids.yaml"
    if target.exists() and not force:
        msg = f"{target} exists already; use --force to overwrite it"
        raise ConfigError(msg)
    asks = on_terminal()
    if not asks and not any((pool, validation, test, model, budget)):
        _write_starter(target)
        return
    answers = _answers(
        directory,
        pool=pool,
        validation=validation,
        test=test,
        model=model,
        budget=budget,
        asks=asks,
    )
    from bids_core.config.load import load_config
    from bids_core.config.schema import schema_text
    from flows.commands.init_yaml import SCHEMA, configuration

    directory.mkdir(parents=True, exist_ok=True)
    target.write_text(configuration(answers), encoding="utf-8")
    (directory / SCHEMA).write_text(schema_text(), encoding="utf-8")
    load_config(target)
    _say_next(target)


COMMAND = Command(init, place=10)


def _write_starter(target: Path) -> None:
    from bids_core.config.schema import schema_text
    from flows.commands.init_yaml import SCHEMA

    target.parent.mkdir(parents=True, exist_ok=True)
    text = files("flows.commands").joinpath("starter.yaml").read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    (target.parent / SCHEMA).write_text(schema_text(), encoding="utf-8")
    typer.echo(
        f"Wrote {target}, a starter to edit. No questions were asked, because this is not a "
        "terminal; `bids init --pool FILE --validation FILE` fills it in. Then "
        f"`bids check {target}`."
    )


def _say_next(target: Path) -> None:
    typer.echo(f"Wrote {target}. Next:")
    for command, what in (
        (
            f"bids show {target}",
            "one row of each format as the model sees it; add FILE:LINE for any other row",
        ),
        (f"bids check {target}", "counts, rejected rows, overlap, estimated cost"),
        (f"bids run {target}", "the whole pipeline"),
    ):
        typer.echo(f"  {command}\n      {what}")


def _answers(
    directory: Path,
    *,
    pool: list[str] | None,
    validation: list[str] | None,
    test: list[str] | None,
    model: str | None,
    budget: str | None,
    asks: bool,
) -> Answers:
    """Check the options, and ask for the rest if there is somebody to answer."""
    from bids_core.config.load import check_config
    from flows.commands.init_data import look_at_pool, look_at_tasks, require_path
    from flows.commands.init_yaml import Answers

    if not asks:
        for option, paths in (("--pool", pool), ("--validation", validation)):
            if not paths:
                msg = (
                    f"{option} PATH is also required (`bids init --help`); on a terminal, "
                    "`bids init` asks for it"
                )
                raise UserError(msg)
    given = {"--pool": pool, "--validation": validation, "--test": test}
    for option, paths in given.items():  # before anything is read
        for text in paths or ():
            require_path(text, option=option)
    if model is not None:
        _model(model)

    def look_at_skills(text: str, option: str) -> list[Looked]:
        return look_at_tasks(text, directory, option=option)

    sources = _ask_all(
        pool,
        "Training rows to select from (a file, a folder or a pattern)",
        lambda text, option: [look_at_pool(text, directory, option=option)],
        option="--pool",
    )
    tasks = _ask_all(
        validation,
        "Examples of what the model should be good at (one file per task, or a folder of them)",
        look_at_skills,
        option="--validation",
    )
    asked_test = "Held-out rows to score on, in the same forms (Enter: none)"
    held_out = (
        _ask_all(test, asked_test, look_at_skills, option="--test", default="")
        if asks or test
        else []
    )
    chosen = _ask(model, "Model (a folder or a hub name)", _model, default=_MODEL, asks=asks)
    rows = [source.rows for source in sources]
    n_rows = None if None in rows else sum(count or 0 for count in rows)
    limit, picks = _ask(
        budget,
        "How many rows to select (500, 0.15 or 15%)",
        lambda text: (text, _picks(text, n_rows)),
        default=_BUDGET,
        asks=asks,
    )
    name = re.sub(r"[^\w.-]+", "-", directory.absolute().name).strip("-._") or "my-run"
    found = Answers(name, _written_model(chosen, directory), sources, tasks, held_out, limit, picks)
    check_config(
        {
            "model": {"path": chosen},
            "pool": [{"path": one.path} for one in sources],
            "validation": [
                {"task": one.task, "capability": one.task, "path": one.path} for one in tasks
            ],
        },
        origin="bids init",
    )
    return found


def _ask_all(
    given: list[str] | None,
    question: str,
    look: Callable[[str, str], list[Looked]],
    *,
    option: str,
    default: str | None = None,
) -> list[Looked]:
    """Return the contents of the given paths; ask if none is given."""
    if given:
        found = [one for text in given for one in look(text, option)]
        _show(found)
        return found
    found = _ask(None, question, lambda text: look(text, "") if text else [], default, asks=True)
    _show(found)
    return found


def _show(found: list[Looked]) -> None:
    for one in found:
        typer.echo(f"  {one.task or one.path}: {one.words}", err=True)


def _ask(
    given: str | None,
    question: str,
    read: Callable[[str], T],
    default: str | None = None,
    *,
    asks: bool,
) -> T:
    """Return a checked answer: the one given, the default, or the user's, asked until valid."""
    if given is not None:
        return read(given)
    if not asks:
        return read(default or "")
    while True:
        text = typer.prompt(question, default=default, err=True, show_default=bool(default))
        try:
            return read(str(text).strip())
        except UserError as error:
            typer.echo(f"  {error}", err=True)


def _model(text: str) -> str:
    """Return the named model, if the name is valid."""
    from bids_core.models.bundled import MODELS, PREFIX

    if text.startswith(PREFIX):
        if text.removeprefix(PREFIX) not in MODELS:
            msg = (
                f"--model {text}: no such bundled model; there is "
                f"{', '.join(PREFIX + name for name in MODELS)}"
            )
            raise UserError(msg)
        return text
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            msg = (
                f"--model {text}: the folder has no config.json, so it is not a transformers "
                "model; give the folder that has one"
            )
            raise UserError(msg)
        return str(folder.absolute())
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.startswith("."):
        return text
    msg = (
        f"--model {text}: no such folder, and not a hub name (org/name); give a model's folder, a "
        f"hub name, or {_MODEL}"
    )
    raise UserError(msg)


def _written_model(model: str, directory: Path) -> str:
    from bids_core.config.paths import relative_path

    if not Path(model).is_absolute():
        return model
    path = relative_path(model, directory)
    return path if path.startswith(".") else f"./{path}"


def _picks(text: str, n_rows: int | None) -> int | None:
    """Return how many rows a budget is; refuse one larger than the pool."""
    from bids_core.errors import MatrixError
    from bids_core.selection import resolve_budget
    from flows.budget import budget_option

    budget = budget_option(text)
    try:
        return None if n_rows is None else resolve_budget(budget, n_rows)
    except MatrixError as error:
        msg = f"--budget {text}: the pool has {n_rows:,} usable rows; give 1 to {n_rows:,} of them"
        raise UserError(msg) from error
