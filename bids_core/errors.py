"""Errors of the project: one root, few subclasses.

A message names what is wrong, where (file, line, key, row) and how to fix it, in one line.
"""

from __future__ import annotations


class BidsError(Exception):
    """Root of all errors raised on purpose by this project."""

    exit_code = 1


class UserError(BidsError):
    """Something the user can fix: the command line exits with 2."""

    exit_code = 2


class ConfigError(UserError):
    """The configuration is invalid: unknown key, wrong value, missing file."""


class DataError(UserError):
    """The data cannot be used: empty pool, task without rows, unreadable file."""


class ModelError(UserError):
    """The model cannot be used: missing path, unsupported layer, no chat template."""


class MatrixError(UserError):
    """An attribution matrix or its companions (tasks, budget) cannot be used."""


class MissingInputError(MatrixError):
    """A selection method needs an argument that was not given.

    Args:
        who: in words, what needs it.
        name: of the argument.
        what: in words, what the argument is.
    """

    def __init__(self, who: str, name: str, what: str) -> None:
        super().__init__(f"{who} needs `{name}`: {what}")
        self.who, self.name, self.what = who, name, what


class MethodError(UserError):
    """A selection method of the user's own raises, or returns something other than picks."""


class NonFiniteError(BidsError):
    """A loss or gradient is NaN or infinite; the message names the rows."""


class ArtifactError(BidsError):
    """An artifact is missing, incomplete or damaged."""


class StageTimeoutError(BidsError):
    """A stage took longer than the configuration allows."""


class WorkerError(BidsError):
    """Work handed to workers was not done."""


class PublishError(BidsError):
    """Selected data could not be sent to the destination in the configuration."""
