"""Real Prefect processes for tests and benchmarks: server, services, workers, PostgreSQL, Redis.

Everything binds to 127.0.0.1 on free ports, keeps its files in one folder and is stopped on exit:

    with Server(folder) as server, Worker(server, "cpu"), Worker(server, "gpu"):
        server.bids("deploy")
        run = server.run("select-data/pipeline", {"config": {...}})
        assert server.wait(run)["state_type"] == "COMPLETED"

`Server(database="postgres", redis=True, auth="user:password")` is the stack of docker/compose.yaml:
a web server without background services, the services in a process of their own, Redis between.
`kill()` is SIGKILL, `start()` brings the same thing back on the same port and data.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
START_TIMEOUT = 120.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing_programs(*names: str) -> list[str]:
    """Return those of `postgres` and `redis-server` that this machine lacks."""
    return [name for name in names if _program(name) is None]


def wait_for(done: Callable[[], Any], what: str, timeout: float = 30.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true.
    """
    end = time.monotonic() + timeout
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


class Process:
    """A process with its log in a file; started again on demand, never outlives its context."""

    def __init__(self, name: str, folder: Path, command: list[str], env: dict[str, str]) -> None:
        self.name, self.folder, self.command, self.env = name, Path(folder), command, env
        self.log = self.folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again); its output is appended to the log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def children(self) -> list[psutil.Process]:
        """Return all living descendants: a worker's are the flow runs' processes."""
        if self.process is None or self.process.poll() is not None:
            return []
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, *, children: bool = False) -> None:
        """SIGKILL, by default the process alone; `children` also what it started."""
        victims = self.children() if children else []
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for victim in victims:
            _send(victim, signal.SIGKILL)

    def suspend(self) -> None:
        """SIGSTOP the process and what it started: it hangs."""
        for victim in [*self.children(), *self._itself()]:
            _send(victim, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT what `suspend` stopped."""
        for victim in [*self._itself(), *self.children()]:
            _send(victim, signal.SIGCONT)

    def stop(self, timeout: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for whatever is left, descendants included."""
        left = [*self.children(), *self._itself()]
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for victim in left:
            _send(victim, signal.SIGKILL)

    def wait_for_log(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Wait until the log holds a text."""
        self.wait_until(lambda: text in self.text(), f"no {text!r} in its log", timeout)

    def wait_until(self, done: Any, what: str, timeout: float = START_TIMEOUT) -> None:
        """Wait for a condition; raises with the end of the log when time is up or it has died."""
        end = time.monotonic() + timeout
        while not done():
            dead = self.process is None or self.process.poll() is not None
            if dead or time.monotonic() > end:
                msg = f"{self.name}: {'it died' if dead else what}; its log ends\n{self.tail()}"
                raise TimeoutError(msg)
            time.sleep(0.1)

    def text(self) -> str:
        """Return the whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 30) -> str:
        """Return the end of the log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def _itself(self) -> list[psutil.Process]:
        alive = self.process is not None and self.process.poll() is None
        return [psutil.Process(self.process.pid)] if alive else []

    def __enter__(self):
        try:
            self.start()
        except BaseException:  # its context never begins, so nothing else would stop it
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Postgres(Process):
    """A throw-away PostgreSQL cluster with one database, `prefect`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.data = Path(folder) / "postgres"
        command = [
            *_as_postgres(), _need("postgres"), "-D", str(self.data), "-p", str(self.port),
            "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "max_connections=200",
        ]  # fmt: skip
        super().__init__("postgresql", Path(folder), command, dict(os.environ))

    @property
    def url(self) -> str:
        """Connection URL for Prefect."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Make the cluster if it is not there, and start it."""
        if not (self.data / "PG_VERSION").exists():
            self.data.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:  # PostgreSQL refuses to run as root
                shutil.chown(self.data, "postgres")
                _let_pass(self.data)
            subprocess.run(
                [*_as_postgres(), _need("initdb"), "-D", str(self.data), "-U", "postgres",
                 "--auth=trust", "--no-sync"],
                check=True, capture_output=True, cwd="/",
            )  # fmt: skip
        super().start()
        self.wait_until(lambda: _listening(self.port), "it does not listen")


class Redis(Process):
    """A Redis that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [_need("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
                   "--save", "", "--dir", str(folder)]  # fmt: skip
        super().__init__("redis", Path(folder), command, dict(os.environ))

    def start(self) -> None:
        """Start it and wait until it listens."""
        super().start()
        self.wait_until(lambda: _listening(self.port), "it does not listen")


class Server(Process):
    """A Prefect server (and, as asked for, its database, Redis and background services).

    Args:
        folder: where all files of it go.
        database: `sqlite`, or `postgres` for a throw-away cluster.
        redis: messaging over Redis and the background services in a process of their own.
        auth: `user:password` that every request has to bring.
        settings: further `PREFECT_...` variables, for the server and for its clients.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str = "sqlite",
        redis: bool = False,
        auth: str | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        folder = Path(folder)
        self.port, self.auth = free_port(), auth
        self.postgres = Postgres(folder) if database == "postgres" else None
        self.redis = Redis(folder) if redis else None
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.client_env = _client_environment(folder, self.url, auth) | (settings or {})
        env = self.client_env | self._server_environment(folder)
        flags = ["--no-services"] if redis else []
        command = _prefect("server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        super().__init__("server", folder, [*command, *flags], env)
        self.services = (
            Process("services", folder, _prefect("server", "services", "start"), env)
            if redis
            else None
        )
        self.http = httpx.Client(
            base_url=self.url, timeout=60, auth=tuple(auth.split(":", 1)) if auth else None
        )

    def _server_environment(self, folder: Path) -> dict[str, str]:
        env = {
            "PREFECT_API_DATABASE_CONNECTION_URL": self.postgres.url
            if self.postgres
            else f"sqlite+aiosqlite:///{folder}/prefect.db",
            "PREFECT_SERVER_UI_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P7D",
        }
        if self.auth:
            env["PREFECT_SERVER_API_AUTH_STRING"] = self.auth
        if self.redis:
            env |= {
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
                "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
                "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
                "PREFECT_REDIS_MESSAGING_PORT": str(self.redis.port),
                "PREFECT_REDIS_MESSAGING_DB": "0",
                "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{self.redis.port}/1",
            }
        return env

    def start(self) -> None:
        """Start what is not running, and wait until the API answers."""
        for part in (self.postgres, self.redis):
            if part is not None and (part.process is None or part.process.poll() is not None):
                part.start()
        super().start()
        self.wait_until(self.healthy, "the API does not answer")
        if self.services is not None and (
            self.services.process is None or self.services.process.poll() is not None
        ):
            self.services.start()

    def __exit__(self, *_: object) -> None:
        self.http.close()
        for part in (self.services, self, self.redis, self.postgres):
            if part is not None:
                part.stop()

    def healthy(self) -> bool:
        """Tell whether the API answers."""
        try:
            return self.http.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API; raises on an error status."""
        for _ in range(20):
            answer = self.http.request(method, path, json=body)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)  # SQLite is busy: ask again, as Prefect's own clients do
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        """GET of the API; raises on an error status."""
        return self.ask("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        """POST to the API; raises on an error status."""
        return self.ask("POST", path, body)

    def deployment(self, name: str) -> dict[str, Any]:
        """Return the deployment `flow/name`."""
        return self.get(f"/deployments/name/{name}")

    def run(self, name: str, parameters: dict[str, Any], **body: Any) -> str:
        """Start a run of the deployment `flow/name`; returns its id."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        body |= {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.post(path, **body)["id"]

    def wait(self, run: str, states: Any = FINAL, timeout: float = 300.0) -> dict[str, Any]:
        """Wait until a flow run is in one of the state types (or names); returns the run."""
        end = time.monotonic() + timeout
        while True:
            found = self.get(f"/flow_runs/{run}")
            if found["state_type"] in states or found["state_name"] in states:
                return found
            if time.monotonic() > end:
                msg = f"flow run {run} is still {found['state_name']}; {self.tail(10)}"
                raise TimeoutError(msg)
            time.sleep(0.3)

    def logs(self, run: str) -> list[str]:
        """Return the messages of a run's log."""
        found = self.post("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        return [line["message"] for line in found]

    def prefect(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run `prefect ...` against this server."""
        return self._client(_prefect(*arguments), **changes)

    def bids(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run `bids ...` against this server."""
        return self._client([sys.executable, "-m", "flows.cli", *arguments], **changes)

    def _client(self, command: list[str], **changes: Any) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
        options |= {"env": self.client_env, "cwd": self.folder, "timeout": 300}
        return subprocess.run(command, **(options | changes))


class Worker(Process):
    """A worker of a pool, with the flow runs that it starts.

    Args:
        server: where it gets its runs.
        pool: name of a process pool.
        name: name of the worker; also of its log and of the folder that it works in.
        limit: most runs at a time; None for a cpu worker, which can then take back a run that
            crashed on it (Prefect 3.8.8: with a limit it dies of that).
        queues: work queues to take runs from; all without it.
        env: further variables for it and its runs (`CUDA_VISIBLE_DEVICES`, `BIDS_ROOT`).
        folder: where relative paths of its runs start.
        python: of the environment that it and its runs live in.
    """

    def __init__(
        self,
        server: Server,
        pool: str,
        *,
        name: str | None = None,
        limit: int | None = 1,
        queues: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        folder: Path | None = None,
        python: str = sys.executable,
    ) -> None:
        name = name or f"worker-{pool}"
        command = _prefect("worker", "start", "--pool", pool, "--type", "process", "--name", name,
                           "--install-policy", "never", python=python)  # fmt: skip
        command += [] if limit is None else ["--limit", str(limit)]
        for queue in queues:
            command += ["--work-queue", queue]
        environment = server.client_env | {"PREFECT_WORKER_QUERY_SECONDS": "1"} | (env or {})
        super().__init__(name, folder or server.folder / name, command, environment)

    def start(self) -> None:
        """Start it and wait until it polls."""
        before = self.text().count("started!")
        super().start()
        self.wait_until(lambda: self.text().count("started!") > before, "it does not start")


def _prefect(*arguments: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "prefect", "--no-prompt", *arguments]


def _client_environment(folder: Path, url: str, auth: str | None) -> dict[str, str]:
    """Return the variables of this process without its Prefect settings, and the server's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {
        "PREFECT_HOME": str(folder / "prefect-home"),
        "PREFECT_API_URL": url,
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", "1"),
        "OMP_WAIT_POLICY": "PASSIVE",
        "COLUMNS": "160",
    }
    return env | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})


def _send(victim: psutil.Process, number: int) -> None:
    try:
        victim.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _program(name: str) -> str | None:
    """Return a program's path; Debian keeps PostgreSQL's out of PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def _need(name: str) -> str:
    found = _program(name)
    if found is None:
        msg = f"{name} is not installed (Debian: apt-get install postgresql redis-server)"
        raise FileNotFoundError(msg)
    return found


def _as_postgres() -> list[str]:
    """Return the words that make a command run as the user postgres, where this is root."""
    if os.geteuid() != 0:
        return []
    pwd.getpwnam("postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def _let_pass(folder: Path) -> None:
    """Let another user reach a folder beneath pytest's private temporary folders."""
    for parent in folder.parents:
        if parent == Path("/") or parent.stat().st_uid != os.geteuid():
            return
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
