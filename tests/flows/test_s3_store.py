"""The store on S3: a real endpoint (moto's server), two machines (two caches), lost objects."""

from __future__ import annotations

import json
import logging

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from tiny_project import Recorder

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.failures import Failure
from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from flows.select_data import select_data
from tasks.runtime.progress import reporting

pytestmark = pytest.mark.usefixtures("prefect_server")
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"  # noqa: S105 - Amazon's own example
STORE = "s3://bids-test/stores/one"
FEW = ["selection.compare=[]", "analysis.leave_out=[]", "evaluation.zero_shot=false"]


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # fsspec keeps clients, with the endpoint that they had
    client = boto3.client("s3")
    client.create_bucket(Bucket="bids-test")
    yield client
    server.stop()


def run(project):
    recorder = Recorder()
    with reporting(recorder):
        result = select_data(load_config(project / "bids.yaml", [f"store={STORE}", *FEW]))
    return result, recorder.computed


def objects(s3):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bids-test")
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def test_a_run_on_s3_is_cached_on_every_machine_and_mends_what_is_lost(
    project, s3, monkeypatch, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    result, computed = run(project)
    assert computed["gradients"] == 12
    assert not (project / ".bids").exists()

    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "another machine"))
    again, computed = run(project)
    assert computed == {"report": 1}
    assert again.selections == result.selections

    lost, damaged = result.gradients[0].train[0], result.gradients[1].train[1]
    prefix = f"stores/one/{lost.key}/"
    s3.delete_object(Bucket="bids-test", Key=next(k for k in objects(s3) if k.startswith(prefix)))
    chunk = next(k for k in objects(s3) if damaged.key in k and k.endswith("/c/0/0"))
    body = bytearray(s3.get_object(Bucket="bids-test", Key=chunk)["Body"].read())
    body[20] ^= 1
    s3.put_object(Bucket="bids-test", Key=chunk, Body=bytes(body))
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "a third machine"))
    mended, computed = run(project)
    assert computed == {"gradients": 2, "report": 1}
    assert mended.selections == result.selections
    assert not ArtifactStore(STORE).verify(lost)
    assert not ArtifactStore(STORE).verify(damaged)

    assert not [key for key in objects(s3) if ".locks" in key]
    for key in objects(s3):
        assert SECRET.encode() not in s3.get_object(Bucket="bids-test", Key=key)["Body"].read()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 100
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(result.data.record())


def test_a_bucket_that_is_not_there_is_one_clear_line(project, s3):
    with pytest.raises(ConfigError, match="store: s3://no-such-bucket.*is not writable") as told:
        select_data(load_config(project / "bids.yaml", ["store=s3://no-such-bucket/x"]))
    assert "\n" not in str(told.value)


def test_failures_of_workers_are_kept_on_s3(s3):
    own = "s3://bids-test/stores/failures"
    failure = Failure("ConfigError", "line one\nline two")
    here, there = ArtifactStore(own).failures(), ArtifactStore(own).failures()
    assert there.read("run") is None
    here.write("run", failure)
    assert there.read("run") == failure
    assert ArtifactStore(own).ls() == []
    there.remove("run")
    there.remove("run")
    assert here.read("run") is None
