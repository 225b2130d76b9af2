"""The `bids` command line.

Exit status: 0 success, 2 the user's mistake (one line that says what, where and how to fix it), 1
our own. Heavy imports happen inside the commands, so that `bids --help` answers at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from bids_core.errors import BidsError, UserError
from flows.commands.command import commands

if TYPE_CHECKING:
    from rich.console import Console

_RESUME = "interrupted; run the same command again to continue where it stopped"
_NO_SERVER = "Timed out while attempting to connect to ephemeral Prefect API server"
_SERVER_HELP = (
    "Prefect's temporary server did not start in time; run again, give it more time "
    "(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=300), or start your own server "
    "(`prefect server start`) and set PREFECT_API_URL to it"
)
_LEAVING = contextlib.ExitStack()  # open until the program ends
_INTERRUPTED = 130  # 128 + SIGINT, the convention of shells and Typer
_TERMINATED = 143  # 128 + SIGTERM

app = typer.Typer(
    name="bids",
    help="Pick the instruction-tuning data worth training on: balanced, influence-based selection.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in commands():
    command.add_to(app)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"bids {version('bids-select')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the libraries log, and tracebacks.")
    ] = False,
) -> None:
    """Set up logging for all commands."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", force=True)
    logging.getLogger("bids_core.models.bundled").setLevel(logging.INFO)  # it makes the user wait
    if verbose:
        os.environ["BIDS_VERBOSE"] = "1"
    else:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")  # Ctrl-C stops it too
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TQDM_DISABLE", "1")  # steps have our own progress display
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _interrupt(*_: object) -> None:
    """Leave at once on Ctrl-C; a terminal sends it to the temporary Prefect server too.

    Otherwise Prefect would try for minutes to report the interruption to a server that is gone.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "prefect.settings" in sys.modules:
        with contextlib.suppress(ImportError, AttributeError):  # still importing: nothing runs
            from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

            _LEAVING.enter_context(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}))
    raise KeyboardInterrupt


def _say(console: Console, message: str) -> None:
    if os.environ.get("BIDS_VERBOSE"):
        traceback.print_exc()
    console.print("[bold red]error:[/] ", end="")
    console.print(message, markup=False)


def _was_interrupted() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def main() -> None:
    """Run the command line; turn errors into one line and an exit status."""
    from flows.console import error_console

    console = error_console()
    # exit through Python, so that the temporary Prefect server is stopped too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app(standalone_mode=True)
    except BidsError as error:
        _say(console, str(error))
        sys.exit(error.exit_code)
    except PermissionError as error:
        where = error.filename or "a file"
        _say(console, f"{where}: permission denied; change its permissions, or name another place")
        sys.exit(UserError.exit_code)
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            console.print(_RESUME)
        raise
    except Exception as error:
        if _was_interrupted():
            console.print(_RESUME)
            sys.exit(_INTERRUPTED)
        if _NO_SERVER not in str(error):
            raise
        _say(console, _SERVER_HELP)
        sys.exit(1)


if __name__ == "__main__":
    main()
