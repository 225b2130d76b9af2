"""A hub that answers first and then sends a byte now and then: one line; host, file and rate."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants, get_session
from huggingface_hub.utils import _http

from bids_core.config import ModelConfig
from bids_core.data import hub_rate
from bids_core.data.hub import open_dataset
from bids_core.data.hub_rate import HubTooSlow, watched_hub
from bids_core.errors import DataError, ModelError
from bids_core.models.load import resolve_model

SHA = "a" * 40
FILES = {"model": ("config.json", b'{"model_type": "llama"}' + b" " * 4000),
         "data": ("data.jsonl", b'{"prompt": "a", "completion": "b"}\n' * 100)}  # fmt: skip


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a download asks for; what is slow, and how, is set on the server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send([entry for entry in self.tree() if entry["path"] in asked.get("paths", [])])

    def tree(self):
        name, content = FILES[self.server.what]
        return [{"type": "file", "path": name, "size": len(content), "oid": "b" * 40}]

    def answer(self, *, head=False):
        name, content = FILES[self.server.what]
        path = self.path.partition("?")[0]
        if "/resolve/" in path and path.endswith(name):
            self.send(content, slow=self.server.slow, head=head)
        elif "/tree/" in path:
            self.send(self.tree())
        elif path.startswith("/api/") and path.count("/") in (4, 6):
            found = {"id": "org/name", "sha": SHA, "siblings": [{"rfilename": name}]}
            self.send({**found, "private": False, "disabled": False, "tags": [], "downloads": 0})
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, content, *, slow=None, head=False):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if slow == "headers" and not head:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
            return self.drip(b"a" * 10**6)
        self.send_response(200)
        for key, value in {"ETag": f'"{"b" * 40}"', "X-Repo-Commit": SHA}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if head:
            return None
        return self.drip(body) if slow == "body" else self.wfile.write(body)

    def drip(self, body):
        with suppress(OSError):
            for byte in body:
                if self.server.over.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Start one; `slow` says what it sends byte by byte."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.over, server.slow, server.what = threading.Event(), None, "model"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    import datasets

    for module in (constants, datasets.config):
        monkeypatch.setattr(
            module, "ENDPOINT" if module is constants else "HF_ENDPOINT", server.url
        )
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        server.url + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(hub_rate, "HUB_WINDOW", 2.0)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def fetch(what):
    if what == "model":
        return resolve_model(ModelConfig(path="org/name")).folder
    return len(open_dataset("hf:org/name", split=None, where="pool source 'name'"))


@pytest.mark.parametrize("slow", ["body", "headers"])
@pytest.mark.parametrize("what", FILES)
def test_it_is_given_up_in_one_line(hub, what, slow):
    hub.what, hub.slow = what, slow
    started = time.monotonic()
    with pytest.raises((ModelError, DataError)) as caught:
        fetch(what)
    assert time.monotonic() - started < 30
    message = str(caught.value)
    assert hub.url in message
    assert FILES[what][0] in message
    said = "the minimum is 1,024 a second" if slow == "body" else "no answer begins within 2 s"
    assert said in message
    assert "HF_HUB_OFFLINE=1" in message
    assert "\n" not in message
    assert _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory
    hub.slow = None
    assert fetch(what) is not None  # the next time works


@pytest.mark.parametrize("what", FILES)
def test_a_hub_that_is_not_slow_is_none_the_wiser(hub, what):
    hub.what = what
    assert fetch(what) if what == "model" else fetch(what) == 100


def test_who_is_slow_to_take_the_bytes_is_not_taken_for_a_slow_hub(hub, monkeypatch):
    monkeypatch.setattr(hub_rate, "HUB_WINDOW", 0.3)
    with (
        watched_hub(),
        get_session().stream("GET", f"{hub.url}/org/name/resolve/{SHA}/config.json") as got,
    ):
        parts = []
        for part in got.iter_raw(chunk_size=500):
            parts.append(part)
            time.sleep(0.1)
    assert b"".join(parts) == FILES["model"][1]


def test_two_at_a_time_share_a_client_and_the_last_gives_it_back():
    def mine():
        client = _http.default_client_factory()
        client.headers["X-Mine"] = "1"
        return client

    huggingface_hub.set_client_factory(mine)
    try:
        with watched_hub():
            first = get_session()
            with watched_hub():
                assert get_session() is first
            assert get_session() is first
            assert first.headers["X-Mine"] == "1"  # as others want it, and watched
        assert _http._GLOBAL_CLIENT_FACTORY is mine
        assert get_session() is not first
    finally:
        huggingface_hub.set_client_factory(_http.default_client_factory)


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), watched_hub():
        raise KeyError("x")
    assert not issubclass(KeyError, HubTooSlow)
