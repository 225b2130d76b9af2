"""A hub that accepts requests and does not respond, or answers byte by byte: one line, soon."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
from huggingface_hub import constants

from bids_core.config import ModelConfig
from bids_core.data import hub_probe
from bids_core.data.hub import open_dataset
from bids_core.errors import DataError, ModelError
from bids_core.models.load import resolve_model

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
ANSWERS = {"nothing": b"", "headers": b"HTTP/1.1 200 OK\r\nX-A: ", "a body": BEGUN}


@pytest.fixture(params=ANSWERS)
def hub(request, monkeypatch):
    """A server that begins such an answer and then sends a byte now and then (or none)."""
    over = threading.Event()

    def answer(connection):
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(ANSWERS[request.param])
            while not over.wait(0.2):
                if request.param != "nothing":
                    connection.send(b"a")

    def listen(server):
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub_probe, "HUB_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield url
        over.set()


@pytest.mark.parametrize("what", ["model", "data"])
def test_it_is_given_up_in_one_line_that_says_how_long(hub, what):
    started = time.monotonic()
    with pytest.raises((ModelError, DataError)) as caught:
        if what == "model":
            resolve_model(ModelConfig(path="org/name"))
        else:
            open_dataset("hf:org/name", split=None, where="pool source 'name'")
    assert time.monotonic() - started < 20
    message = str(caught.value)
    assert f"the hub at {hub} accepts requests but does not respond within 2 s" in message
    assert "HF_HUB_OFFLINE=1" in message
    assert "\n" not in message


def test_nobody_is_asked_offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a question"))
    assert hub_probe.unanswered("models", "org/name") is None
