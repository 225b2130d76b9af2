"""What production does to a run, done to a run: real server, real workers, real signals.

Each fault hits a run in the middle of a gradient shard. Afterwards the run has ended well (or was
started again where that is what one does), every row has exactly one feature at every checkpoint,
and the selection is that of the undisturbed run, to the bit.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from faults.cluster import (
    CHECKPOINTS,
    POOL,
    ROWS_PER_SHARD,
    Proxy,
    check_rows,
    flow_processes,
    in_hand,
    same_selection,
    seconds_until_published,
    shards,
    wait_for_shards,
    write_project,
)

WITHIN = 30  # seconds that a cancelled run's work may go on
SHARDS = CHECKPOINTS * (POOL // ROWS_PER_SHARD + 2)
pytestmark = pytest.mark.timeout(900)
slow = pytest.mark.faults


def settled(outcome, project, undisturbed, words):
    """Check rows and selection at the end of a test."""
    check_rows(project)
    outcome.identical = same_selection(project, undisturbed)
    outcome.words = words
    assert outcome.identical


def computed(cluster, runs):
    """Return the artifacts that runs and their children say they computed."""
    lines = [
        line for run in runs
        for one in (run, *[child["id"] for child in cluster.children(run)])
        for line in cluster.server.logs(one)
    ]  # fmt: skip
    return sorted(line.split("'")[1].split()[0] for line in lines if "was computed" in line)


@pytest.fixture(scope="module")
def after_a_kill(cluster, tmp_path_factory, cluster_model):
    """Kill the flow process of a worker in the middle of a shard; the project, and the seconds."""
    project = write_project(tmp_path_factory.mktemp("killed"), cluster_model)
    with cluster.worker("gpu-a", limit=4) as worker:  # hooks of killed runs hold places
        run = cluster.start(project)
        wait_for_shards(project, 2)
        interrupted, started = in_hand(project), time.monotonic()
        for process in worker.children():
            process.kill()
        seconds = seconds_until_published(project, interrupted, started)
        cluster.finish(run)
    return project, seconds


@pytest.mark.server
@pytest.mark.fault("flow process killed (kill -9)")
def test_a_killed_flow_process(outcome, after_a_kill, undisturbed):
    project, outcome.recovered = after_a_kill
    settled(outcome, project, undisturbed, "same run ended well; its shards were handed out again")


@pytest.mark.server
@pytest.mark.fault("corrupted shard")
def test_a_corrupted_shard_is_computed_again(outcome, cluster, after_a_kill, undisturbed):
    project, _ = after_a_kill
    handle = next(h for h in shards(project) if h.summary()["rows"] == ROWS_PER_SHARD)
    chunk = handle.path() / "features.zarr" / "projected_gradients" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 4
    chunk.write_bytes(data)
    with cluster.worker("gpu-a"):
        started = time.monotonic()
        again = cluster.start(project)
        cluster.finish(again)
        outcome.recovered = time.monotonic() - started
    assert computed(cluster, [again]) == [handle.key]
    assert bytes(data) != chunk.read_bytes()
    settled(outcome, project, undisturbed, "run again: that shard alone was computed anew")


def failed_at_once(cluster, run):
    """Wait for a failure; nothing that failed was handed out again, no log has a traceback."""
    ended = cluster.server.wait(run, timeout=200)
    assert ended["state_type"] == "FAILED"
    children = cluster.children(run)
    failed = [child for child in children if child["state_type"] == "FAILED"]
    names = [child["name"] for child in failed]
    assert len(names) == len(set(names)), f"handed out again: {names}"
    for one in (run, *[child["id"] for child in children]):
        assert not [line for line in cluster.server.logs(one) if "Traceback" in line]
    return ended["state"]["message"], failed  # the others were cancelled with the run


@pytest.mark.server
@pytest.mark.fault("configuration that the workers refuse")
def test_a_mistake_that_only_a_worker_sees(outcome, cluster, project):
    for allowed in ("store", "elsewhere"):  # the word travels by the store, or by the server
        confined = {"BIDS_ALLOWED_PATHS": str(Path(project["store"]).with_name(allowed))}
        with cluster.worker("gpu-confined", env=confined):
            message, failed = failed_at_once(cluster, cluster.start(project))
        assert "ConfigError: " in message
        assert "is outside the folders this machine allows" in message
        assert {child["state"]["message"] for child in failed} == {message}
    outcome.words = "failed with the worker's message; handed out once"


@slow
@pytest.mark.fault("store deleted in the middle of a run")
def test_a_deleted_store(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a"):
        run = cluster.start(project)
        wait_for_shards(project, 2)
        shutil.rmtree(project["store"])
        message, _ = failed_at_once(cluster, run)
        assert project["store"] in message
        started = time.monotonic()
        cluster.finish(cluster.start(project))
        outcome.recovered = time.monotonic() - started
    settled(outcome, project, undisturbed, "failed, naming what is gone; run again: ended well")


@slow
@pytest.mark.fault("worker killed (kill -9, with its flow process)")
def test_a_killed_worker(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a") as victim:
        run = cluster.start(project)
        wait_for_shards(project, 2)
        with cluster.worker("gpu-b"):
            interrupted, started = in_hand(project), time.monotonic()
            victim.kill(children=True)
            outcome.recovered = seconds_until_published(project, interrupted, started)
            cluster.finish(run)
    settled(outcome, project, undisturbed, "the same run ended well on the other worker")


@slow
@pytest.mark.fault("server killed for 30 s (kill -9)")
def test_a_killed_server(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a"):
        run = cluster.start(project)
        wait_for_shards(project, 2)
        interrupted = in_hand(project)
        cluster.server.kill()
        started = time.monotonic()
        time.sleep(30)
        cluster.server.start()
        outcome.recovered = seconds_until_published(project, interrupted, started)
        cluster.finish(run)
    settled(outcome, project, undisturbed, "the same run ended well; the shard in hand went on")


@slow
@pytest.mark.fault("worker cut off from the server for 40 s")
def test_a_cut_connection(outcome, cluster, project, undisturbed):
    proxy = Proxy(cluster.server.port)
    url = {"PREFECT_API_URL": f"http://127.0.0.1:{proxy.port}/api"}
    with cluster.worker("gpu-a", env=url):
        run = cluster.start(project)
        wait_for_shards(project, 2)
        interrupted, started = in_hand(project), time.monotonic()
        proxy.cut()
        outcome.recovered = seconds_until_published(project, interrupted, started)
        time.sleep(40)
        proxy.mend()
        cluster.finish(run)
    settled(outcome, project, undisturbed, "the same run ended well; the shard in hand went on")


@slow
@pytest.mark.fault("worker hangs (SIGSTOP)")
def test_a_hanging_worker(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a") as victim:
        run = cluster.start(project)
        wait_for_shards(project, 2)
        with cluster.worker("gpu-b"):
            victim.suspend()
            interrupted, started = in_hand(project), time.monotonic()
            outcome.recovered = seconds_until_published(project, interrupted, started)
            cluster.finish(run)
            victim.resume()  # it wakes up, finds its work done, and may not spoil it
            time.sleep(10)
    settled(outcome, project, undisturbed, "the same run ended well on the other worker")


@slow
@pytest.mark.fault("two identical runs at once")
def test_two_identical_runs_at_once(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a"), cluster.worker("gpu-b"):
        runs = [cluster.start(project), cluster.start(project)]
        for run in runs:
            cluster.finish(run)
    made = computed(cluster, runs)
    assert len(made) == len(set(made)), f"computed twice: {made}"
    assert len([name for name in made if name.startswith("gradients/")]) == SHARDS
    settled(outcome, project, undisturbed, "both ended well; every artifact was computed once")


@slow
@pytest.mark.fault("disk full")
def test_a_full_disk(outcome, cluster, project, undisturbed):
    store = Path(project["store"])
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(store)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        outcome.words = "skipped: mounting a tmpfs takes root"
        pytest.skip("mounting a tmpfs takes root")
    try:
        with cluster.worker("gpu-a"):
            ended = cluster.server.wait(cluster.start(project), timeout=300)
            assert ended["state_type"] == "FAILED"
            assert "the disk is full" in ended["state"]["message"]
            kept = len(shards(project))
            assert kept > 0
            subprocess.run(["mount", "-o", "remount,size=64m", str(store)], check=True)
            started = time.monotonic()
            again = cluster.start(project)
            cluster.finish(again)
            outcome.recovered = time.monotonic() - started
        made = [name for name in computed(cluster, [again]) if name.startswith("gradients/")]
        assert len(made) == SHARDS - kept
        settled(outcome, project, undisturbed, "stopped, saying so; run again: went on")
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=True)


def cancel(cluster, run, workers):
    """Cancel a run as the UI does; what was seen: it and its parts are cancelled, and gone."""
    started = time.monotonic()
    cluster.server.post(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    assert cluster.server.wait(run, timeout=WITHIN)["state_type"] == "CANCELLED"
    for child in cluster.children(run):
        ended = cluster.server.wait(child["id"], timeout=WITHIN)
        assert ended["state_type"] in ("CANCELLED", "COMPLETED")
    stopped = time.monotonic() - started
    while flow_processes(*workers, cluster.pipeline):
        assert time.monotonic() - started < WITHIN, f"processes live {WITHIN} s after the cancel"
        time.sleep(0.2)
    gone = time.monotonic() - started
    return f"work stopped after {stopped:.0f} s, its processes were gone after {gone:.0f} s"


@slow
@pytest.mark.fault("cancelled from the UI")
def test_a_cancelled_run(outcome, cluster, project, undisturbed):
    with cluster.worker("gpu-a") as first, cluster.worker("gpu-b") as second:
        run = cluster.start(project)
        wait_for_shards(project, 2)
        stopped = cancel(cluster, run, (first, second))
        kept = {handle.key for handle in shards(project)}
        started = time.monotonic()
        again = cluster.start(project)
        cluster.finish(again)
        outcome.recovered = time.monotonic() - started
    assert not kept & set(computed(cluster, [again]))
    words = f"{stopped}; run again: went on"
    settled(outcome, project, undisturbed, words)


@slow
@pytest.mark.fault("server killed for 45 s (kill -9), then cancelled from the UI")
def test_a_cancelled_run_after_an_outage(outcome, cluster, project, undisturbed):
    project["execution"] |= {"lost_after": 300}
    with cluster.worker("gpu-a") as worker:
        run = cluster.start(project)
        wait_for_shards(project, 1)
        shard_in_hand = flow_processes(worker)
        for process in shard_in_hand:
            process.suspend()  # it would be done before the server is back
        cluster.server.kill()
        time.sleep(45)
        cluster.server.start()
        for process in shard_in_hand:
            process.resume()
        stopped = cancel(cluster, run, (worker,))
        for log in (cluster.pipeline.text(), worker.text()):
            assert "Flow run cancellation disabled" in log  # as Prefect says of its own means
        started = time.monotonic()
        cluster.finish(cluster.start(project))
        outcome.recovered = time.monotonic() - started
    words = f"{stopped}; run again: went on"
    settled(outcome, project, undisturbed, words)
