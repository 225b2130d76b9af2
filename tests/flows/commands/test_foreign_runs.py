"""Run folders and picks of a stranger: nothing is run, nobody is called, nothing read elsewhere."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from hand_made_run import make_run
from mutations import damaged, one_line, seeds
from typer.testing import CliRunner

from bids_core.influence.labels import Labels
from bids_core.selection import select
from bids_core.selection.files import write_selection
from flows.commands.audit_input import open_target
from flows.commands.explain import explain
from flows.commands.explain_input import open_picks, open_run

app = typer.Typer()
app.command()(explain)
CODE = "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\ndef pick(*a): pass\n"
NOTHING = dict.fromkeys(("method", "matrix", "tasks", "sources", "texts", "validation_texts"))


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A run folder with code beside it, and a way to change its manifest."""
    make_run(tmp_path / "run", [f"r{i}" for i in range(40)])
    (tmp_path / "run" / "evil.py").write_text(CODE)
    monkeypatch.chdir(tmp_path / "run")

    def change(**changes):
        path = tmp_path / "run" / "manifest.json"
        content = json.loads(path.read_text()) | {"format": 2}
        for keys, value in changes.items():
            place = content
            *outer, last = keys.split("__")
            for key in outer:
                place = place[key]
            place[last] = value
        path.write_text(json.dumps(content))
        return tmp_path / "run"

    return change


def refused(folder, *arguments):
    result = CliRunner().invoke(app, [str(folder), "rank:1", *arguments])
    assert result.exit_code != 0
    return str(result.exception)


def test_code_that_a_manifest_names_is_not_run(foreign, tmp_path):
    handle = json.loads((tmp_path / "run" / "manifest.json").read_text())["result"]["selections"]
    folder = foreign(config__selection__method="evil.py:pick",
                     result__selections={"pick": handle["bids"]})  # fmt: skip
    for arguments in ((), ("--method", "pick")):
        message = refused(folder, *arguments)
        assert "if you trust it, add --method" in message
        assert "\n" not in message
        assert not (folder / "RAN").exists()
    refused(folder, "--method", "evil.py:pick")  # who names it runs it
    assert (folder / "RAN").exists()


@pytest.mark.parametrize("store", ["http://{}/s", "simplecache::http://{}/s", "https://{}/s"])
def test_no_address_that_a_manifest_names_is_called(foreign, store):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = store.format(f"127.0.0.1:{server.server_port}")
        folder = foreign(result__matrix__store=address)
        assert "BIDS does not contact an address named in a file" in refused(folder)
        with one_line("audit"):
            open_target(folder, tasks=None, sources=None, texts=None)
        server.shutdown()
    assert seen == []


@pytest.mark.parametrize("stage", ["../../etc", "/etc", "..", "a/b", "a\0b"])
def test_an_artifact_lies_in_its_store(foreign, stage):
    message = refused(foreign(result__matrix__stage=stage))
    assert "is not the name of a folder" in message
    assert "\n" not in message


@pytest.fixture
def picks(tmp_path, monkeypatch):
    """Picks beside their matrix, and a way to let them name something else."""
    for name in ("mine", "theirs", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    matrix = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    np.save(tmp_path / "theirs" / "m.npy", matrix)
    (tmp_path / "mine" / "secret.txt").write_text("\n".join(f"secret {i}" for i in range(12)))
    file = tmp_path / "theirs" / "picks.parquet"

    def write(**said):
        names = {"matrix": file.with_name("m.npy")}
        write_selection(file, select(matrix, 3), Labels(12, 4), made_from=names)
        frame = pd.read_parquet(file)
        frame.attrs |= said
        frame.to_parquet(file, index=False)
        return file

    return write


def test_picks_are_explained_where_they_lie(picks):
    assert len(open_picks(picks(), **NOTHING).selection) == 3


@pytest.mark.parametrize("key", ["matrix", "tasks", "sources", "texts", "validation_texts"])
@pytest.mark.parametrize("place", ["../mine/secret.txt", "absolute", "link.txt", "/etc/passwd"])
def test_picks_make_nobody_read_elsewhere(picks, tmp_path, key, place):
    secret = tmp_path / "mine" / "secret.txt"
    (tmp_path / "theirs" / "link.txt").symlink_to(secret)
    place = str(secret) if place == "absolute" else place
    message = refused(picks(**{key: place}))
    assert "is neither in its folder nor in the current one" in message
    assert f"--{key.replace('_', '-')} FILE" in message
    assert "secret 1" not in message


def test_who_names_the_file_or_stands_there_reads_it(picks, tmp_path, monkeypatch):
    secret = tmp_path / "mine" / "secret.txt"
    file = picks(texts="../mine/secret.txt")
    assert open_picks(file, **(NOTHING | {"texts": secret})).text_of("3") == "secret 3"
    monkeypatch.chdir(tmp_path)
    assert open_picks(file, **NOTHING).text_of("3") == "secret 3"


def test_code_that_picks_name_is_not_run(picks):
    file = picks(method="evil.py:pick")
    file.with_name("evil.py").write_text(CODE)
    assert "if you trust it, add --method evil.py:pick" in refused(file)
    assert not file.with_name("RAN").exists()
    refused(picks(method="os:system"))


def test_damaged_run_folders(tmp_path):
    make_run(tmp_path / "good", [f"r{i}" for i in range(40)])
    (tmp_path / "good" / "rejects.jsonl").write_text(
        json.dumps(
            {"split": "train", "source": "s", "location": "f:1", "reason": "r", "detail": "d"}
        )
    )
    names = ["manifest.json", "rejects.jsonl", *(
        str(path.relative_to(tmp_path / "good"))
        for path in sorted((tmp_path / "good" / "store").rglob("*")) if path.is_file()
    )]  # fmt: skip
    for seed in seeds(40):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(tmp_path / "good", bad)
        manifest = bad / "manifest.json"
        manifest.write_text(manifest.read_text().replace(str(tmp_path / "good"), str(bad)))
        file: Path = bad / names[seed % len(names)]
        file.write_bytes(damaged(file.read_bytes(), seed))
        with one_line(f"{file.name}, seed {seed}"):
            open_run(bad, None)
        with one_line(f"{file.name}, seed {seed}"):
            open_target(bad, tasks=None, sources=None, texts=None)
