"""The hub's side is a server on this machine that speaks as much of its protocol as is needed."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bids_core.config import OutputConfig
from bids_core.errors import ConfigError, PublishError
from bids_core.publishing.send import push_to_hub, require_publishers


@pytest.fixture
def hub():
    """Yield (address, what was committed, what was asked for)."""
    committed, asked = {}, []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, content, status=200):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.path, body))
            if self.path == "/api/repos/create":
                if json.loads(body)["name"] == "forbidden":
                    return self.answer({"error": "You don't have the rights"}, 403)
                return self.answer({"url": "https://huggingface.co/datasets/org/picks"})
            if self.path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                         for f in json.loads(body)["files"]]  # fmt: skip
                return self.answer({"files": files})
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    committed[value["path"]] = base64.b64decode(value["content"])
            url = "https://huggingface.co/datasets/org/picks/commit/0"
            return self.answer({"commitUrl": url, "commitOid": "0" * 40, "success": True})

        def do_GET(self):
            asked.append((self.path, b""))
            if "forbidden" in self.path:
                return self.answer({"error": "Repository not found"}, 404)
            self.answer({"id": "org/picks", "sha": "0" * 40, "siblings": []})

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", committed, asked
        server.shutdown()


def selected(folder):
    (folder / "dataset").mkdir(parents=True)
    (folder / "README.md").write_text("---\ntags: [bids]\n---\n# picks\n")
    (folder / "bids.jsonl").write_text('{"messages": []}\n')
    (folder / "dataset" / "state.json").write_text("{}")
    return folder


def test_rows_and_card_arrive(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    address, committed, asked = hub
    push_to_hub(selected(tmp_path / "s"), "org/picks", private=True, message="m", endpoint=address)
    assert set(committed) == {"README.md", "bids.jsonl"}
    assert committed["bids.jsonl"] == b'{"messages": []}\n'
    created = json.loads(dict(asked)["/api/repos/create"])
    assert created["type"] == "dataset"
    assert created.get("private") is True or created.get("visibility") == "private"


def test_a_hub_that_refuses_or_is_away_is_one_clear_line(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    folder = selected(tmp_path / "s")
    with pytest.raises(PublishError, match="org/forbidden could not be written") as caught:
        push_to_hub(folder, "org/forbidden", private=True, message="m", endpoint=hub[0])
    assert "\n" not in str(caught.value)
    with pytest.raises(PublishError, match="org/picks could not be written"):
        push_to_hub(folder, "org/picks", private=True, message="m", endpoint="http://127.0.0.1:9")


def test_a_package_that_is_missing_is_named_early(monkeypatch):
    monkeypatch.setattr("bids_core.publishing.send.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install mlflow"):
        require_publishers(OutputConfig(mlflow_experiment="bids"))
    require_publishers(OutputConfig())
