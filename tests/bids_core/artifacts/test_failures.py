"""Errors that travel as data come back as what they were, whatever they say."""

from __future__ import annotations

import json

import pytest

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.failures import Failure
from bids_core.data.rejects import RejectedRow
from bids_core.errors import (
    ArtifactError,
    BidsError,
    ConfigError,
    DataError,
    NonFiniteError,
    UserError,
    WorkerError,
)
from bids_core.sandbox.bubblewrap import SandboxError

LINES = "rows \"a\", 'b':\n  NaN: exception: ConfigError: not this one\n\tünïcode \x00\n"


def travelled(error):
    failure = Failure.from_json(Failure.of(error).to_json())
    return failure.error()


@pytest.mark.parametrize("kind", [ConfigError, NonFiniteError, ArtifactError, BidsError])
def test_an_error_of_ours_comes_back_whole(kind):
    found = travelled(kind(LINES))
    assert type(found) is kind
    assert str(found) == LINES


def test_a_class_from_elsewhere_comes_back_as_the_nearest_of_ours():
    """A parent need not have imported the module that defines it: it stays the user's mistake."""
    assert type(travelled(SandboxError("no bubblewrap"))) is UserError
    row = RejectedRow("missing-field", "there is none")
    assert type(travelled(row)) is DataError
    assert str(travelled(row)) == str(row)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "/gone"),
         "FileNotFoundError: [Errno 2] No such file: '/gone'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (RuntimeError(LINES), f"RuntimeError: {LINES}"),
    ],
)  # fmt: skip
def test_any_other_error_is_a_worker_error_that_says_it_all(error, words):
    found = travelled(error)
    assert type(found) is WorkerError
    assert str(found) == words


@pytest.mark.parametrize("kind", ["os", "Final", "annotations", "Exception", "SystemExit", ""])
def test_a_type_names_nothing_but_our_errors(kind):
    text = json.dumps({"type": kind, "message": "x", "can_pass": False})
    assert type(Failure.from_json(text).error()) is WorkerError


@pytest.mark.parametrize("text", [b"", b'{"type": "Con', b"[]", b"1", b'{"type": "A"}', b"\xff"])
def test_what_was_cut_short_is_no_failure(text):
    assert Failure.from_json(text) is None


@pytest.fixture(params=["folder", "remote"])
def store(request, tmp_path):
    return ArtifactStore(
        str(tmp_path / "s") if request.param == "folder" else f"memory:/{tmp_path}"
    )


def test_a_store_keeps_failures_until_they_are_removed(store):
    failures = store.failures()
    failures.remove("run-1")  # not there: nothing to do
    assert failures.read("run-1") is None
    failures.write("run-1", Failure("ConfigError", LINES))
    failures.write("run-2", Failure("OSError", "slow", can_pass=True))
    again = ArtifactStore(store.url).failures()
    assert again.read("run-1") == Failure("ConfigError", LINES)
    assert again.read("run-2").can_pass
    again.remove("run-1")
    assert failures.read("run-1") is None
    assert failures.read("run-2") is not None
    assert store.ls() == []


def test_a_failure_that_is_not_readable_is_none(store, caplog):
    store.failures().write("run", Failure("ConfigError", "x"))
    store._fs.pipe_file(f"{store.root}/.failures/run.json", b'{"type"')
    assert store.failures().read("run") is None
    assert "not readable" in caplog.text
