"""One real server with everything deployed, for the tests of this folder."""

from __future__ import annotations

import json

import pytest
from stack import Server
from tiny_project import write_project


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server on SQLite."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def first_deploy(server):
    """What the first `bids deploy --json` on the server said."""
    return json.loads(server.bids("deploy", "--json").stdout)


@pytest.fixture(scope="session")
def project(tmp_path_factory, tiny_model_folder):
    """A folder with data, for workers to run in; and the configuration of a run on it."""
    folder = tmp_path_factory.mktemp("project")
    return folder, write_project(folder, tiny_model_folder)
