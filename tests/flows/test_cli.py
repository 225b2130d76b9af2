"""The command line: exit statuses, one-line messages, machine-readable output."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_help_imports_nothing_heavy():
    code = (
        "import sys, flows.cli; heavy = {'torch', 'transformers', 'prefect', 'pandas', 'numpy', "
        "'datasets', 'zarr', 'lm_eval'} & set(sys.modules); sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(bids):
    status, out, _ = bids("--help")
    assert status == 0
    for command in ("init", "check", "run", "select", "analyze", "explain", "report", "store"):
        assert command in out


def test_an_unknown_option_is_the_users_mistake(bids):
    assert bids("run", "--nonsense")[0] == 2


def test_init_writes_a_configuration_that_is_valid_and_is_not_overwritten(bids, tmp_path):
    from bids_core.config.load import load_config

    status, out, _ = bids("init", tmp_path / "new")
    assert status == 0
    assert "bids check" in out
    config = load_config(tmp_path / "new" / "bids.yaml")
    assert config.selection.method == "bids"
    status, _, err = bids("init", tmp_path / "new")
    assert status == 2
    assert "--force" in err
    assert bids("init", tmp_path / "new", "--force")[0] == 0


def test_check_prints_counts_and_json(bids, project):
    (project / "pool" / "add.jsonl").open("a").write(
        '{"prompt": "x", "completion": ""}\nnot json\n'
    )
    status, out, _ = bids("check", "bids.yaml", "--no-cost")
    assert status == 0
    assert "malformed-json" in out
    assert "empty-completion" in out
    assert "Budget: 6 of 32 pool rows" in out
    status, out, _ = bids("check", "bids.yaml", "--json")
    content = json.loads(out)
    assert status == 0
    assert content["budget"] == 6
    stages = [entry["stage"] for entry in content["cost"]]
    assert stages == [
        "warmup", "gradients", "attribution", "selection", "finetune", "evaluation",
    ]  # fmt: skip
    assert all(entry["seconds"] > 0 for entry in content["cost"])
    assert content["memory_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "nothing.yaml"), "bids init"),
        (("check", "bids.yaml", "--set", "selection.budget=99"), "32 usable rows"),
        (("check", "bids.yaml", "--set", "selection.budget=0.01"), "32 usable rows"),
        (("check", "bids.yaml", "--set", "model.path=/no/model"), "not a folder"),
        (("check", "bids.yaml", "--set", "bugdet=1"), "unknown key"),
        (("run", "bids.yaml", "--until", "dinner"), "choose one of"),
        (("report", "runs/none"), "manifest.json"),
        (("store", "gc"), "no store there"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(bids, project, arguments, words):
    status, out, err = bids(*arguments)
    assert status == 2
    assert words in err
    message = err[err.index("error:") :].strip()
    assert "\n" not in message
    assert "Traceback" not in out + err


def test_an_empty_validation_task_is_named_before_anything_runs(bids, project):
    (project / "validation" / "max.jsonl").write_text("")
    status, _, err = bids("check", "bids.yaml", "--no-cost")
    assert status == 2
    assert "max" in err
    assert not (project / ".bids").exists()


@pytest.mark.usefixtures("prefect_server")
def test_run_report_and_store(bids, project):
    status, out, err = bids("run", "bids.yaml", "--json", "--set", "selection.compare=[random]")
    assert status == 0, err
    result = json.loads(out)
    assert set(result["scores"][0]) >= {"method", "task", "score", "answer_loss", "majority"}
    assert set(result["macro_average"]) == {"zero_shot", "bids", "random"}
    assert "warmup" in err

    report = project / "runs" / "tiny" / "report.html"
    report.unlink()
    status, out, _ = bids("report", "runs/tiny")
    assert status == 0
    assert report.exists()
    assert "Selected examples by source" in out
    assert str(report.parent) in out.replace("\n", "")

    status, out, _ = bids("store", "ls", "--json")
    artifacts = json.loads(out)
    assert {entry["state"] for entry in artifacts} == {"whole"}
    assert {entry["artifact"].split("/")[0] for entry in artifacts} == {
        "prepare", "warmup", "gradients", "attribution", "selection", "analysis", "finetune",
        "evaluation",
    }  # fmt: skip
    assert bids("store", "verify")[0] == 0

    status, out, _ = bids("store", "gc", "--json")
    assert (status, json.loads(out)["unused"]) == (0, [])
    victim = next((project / ".bids" / "warmup").rglob("adapter_model.safetensors"))
    victim.write_bytes(b"damaged")
    status, out, err = bids("store", "verify")
    assert status == 1
    assert "adapter_model.safetensors" in out
    assert "run again" in err

    status, _, _ = bids("run", "bids.yaml", "--set", "selection.compare=[]", "--until", "selection")
    assert status == 0
    status, out, _ = bids("store", "gc", "--delete", "--json")
    assert {key.split("/")[0] for key in json.loads(out)["unused"]} == {
        "selection", "analysis", "finetune", "evaluation",
    }  # fmt: skip
    status, out, _ = bids("store", "ls", "--json")
    assert "finetune" not in {entry["artifact"].split("/")[0] for entry in json.loads(out)}


def test_ctrl_c_leaves_at_once_where_the_temporary_server_is_gone():
    """Prefect retries for minutes, then raises an error of its own instead of KeyboardInterrupt."""
    program = (
        "import os, signal\n"
        "from flows import cli\n"
        "from prefect.settings import PREFECT_CLIENT_MAX_RETRIES\n"
        "def work(**_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        assert PREFECT_CLIENT_MAX_RETRIES.value() == 0\n"
        "        raise ConnectionError('the server is gone')\n"
        "cli.app = work\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert (
        done.stderr.strip()
        == "interrupted; run the same command again to continue where it stopped"
    )
