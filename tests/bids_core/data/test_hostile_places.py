"""Paths and names that lead elsewhere: nothing is fetched, nothing outside is read."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading

import pytest

from bids_core.data.ingest import ingest
from bids_core.data.sources import find_sources
from bids_core.errors import BidsError

ROW = {"prompt": "q", "completion": "a"}


@pytest.fixture
def server(tmp_path_factory):
    """A web server with a data file; its requests are counted."""
    folder = tmp_path_factory.mktemp("www")
    (folder / "x.jsonl").write_text(json.dumps(ROW) + "\n")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            asked.append(args)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()


@pytest.mark.parametrize("place", [
    "http://HOST/x.jsonl", "https://HOST/x.jsonl", "file:///etc/passwd", "file://HOST/x.jsonl",
    "simplecache::http://HOST/x.jsonl", "zip://x.jsonl::http://HOST/x.zip", "s3://bucket/x.jsonl",
    "filecache::file:///etc/passwd", "//HOST/x.jsonl", "http:/HOST/x.jsonl", "memory://x.jsonl",
    "hf:http://HOST/x.jsonl", "hf:/etc", "hf:../outside", "hf:./outside", "hf:outside", "hf:",
    "hf:org/na me", "hf:a/b/c", "hf:~/x", "hf:json:http://HOST/x.jsonl", "hf:org/name/../../etc",
    "github://org:repo@/x.jsonl", "data:text/plain,x", "\x00", "x\x00.jsonl", "a" * 5000, "\ud800",
    "~nobody-of-this-name/x", "[", "[!]", "${NOPE}/x.jsonl", "${HOME", "$HOME/x.jsonl", "/dev/zero",
    "/dev/stdin", "/proc/self/environ",
])  # fmt: skip
def test_places_that_are_no_files_here(write, make_config, tmp_path, monkeypatch, server, place):
    host, asked = server
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write("outside/x.jsonl", [ROW])
    write("val.jsonl", [ROW])
    connect = socket.socket.connect

    def only_here(sock, address):
        assert "127.0.0.1" in address, f"a connection to {address}"
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    base = tmp_path / "config"
    base.mkdir()
    (base / "val.jsonl").write_text(json.dumps(ROW) + "\n")
    with pytest.raises(BidsError) as caught:
        ingest(find_sources(make_config([place.replace("HOST", host)]), base)[:1])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert asked == []


def test_devices_and_pipes_are_not_read(make_config, write, tmp_path):
    write("val.jsonl", [ROW])
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "zero.jsonl", "*.jsonl.x", "loop.jsonl"):
        if name == "loop.jsonl":
            (tmp_path / name).symlink_to(name)
        with pytest.raises(BidsError):
            ingest(find_sources(make_config([name]), tmp_path)[:1])


def test_archives_are_refused_by_name(make_config, write, tmp_path):
    write("val.jsonl", [ROW])
    for name in (
        "x.zip",
        "x.tar.gz",
        "x.7z",
        "x.jsonl.bz2",
        "x.jsonl.xz",
        "x.pkl",
        "x.bin",
        "x.py",
    ):
        write(name, b"PK\x03\x04")
        with pytest.raises(BidsError, match="unknown suffix"):
            ingest(find_sources(make_config([name]), tmp_path)[:1])
