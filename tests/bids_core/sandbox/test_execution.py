"""Programs that mean harm, run for real: nothing gets out, and nothing is left behind."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_core.sandbox import Limits, require_sandbox, run_program
from bids_core.sandbox.bubblewrap import SandboxError, find_bwrap

QUICK = Limits(seconds=2.0, processes=8)


@pytest.fixture(scope="module", autouse=True)
def _walls():
    try:
        require_sandbox()
    except SandboxError as error:
        pytest.skip(str(error))


def problem_of(text, limits=QUICK):
    outcome = run_program(text, limits=limits)
    assert outcome.passed == (outcome.problem is None)
    return outcome.problem


def children():
    """Return the processes that this one has started and not collected."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return {int(child) for child in listed}


def test_a_right_program_passes_and_a_wrong_one_says_why():
    assert problem_of("from dataclasses import dataclass\nassert sum([1, 2]) == 3") is None
    assert problem_of("assert 1 == 2, 'no\\nway'") == "AssertionError: no way"
    assert "SyntaxError" in problem_of("def f(:")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "ended early"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV); raise ValueError", "Value"),
        ("import os; os.write(3, b'x'); [os.write(n, b'{') for n in range(4, 9)]", ""),
    ],
)
def test_leaving_early_is_not_passing(text, problem):
    assert problem in problem_of(text)


def test_endless_loop_is_ended():
    started = time.monotonic()
    assert problem_of("while True: pass", Limits(seconds=0.5)) == "timeout"
    assert time.monotonic() - started < 3


def test_memory_is_bounded():
    assert "MemoryError" in problem_of("x = bytearray(3 << 30)")


def test_fork_bomb_goes_nowhere():
    before = children()
    problem = problem_of("import os\nwhile True:\n    os.fork()", Limits(seconds=1.0, processes=8))
    assert "BlockingIOError" in problem or problem == "timeout"
    assert children() == before


def test_a_child_does_not_survive(tmp_path):
    marker = f"3{os.getpid()}.5"
    text = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        f"        time.sleep({marker})\n"
    )
    started = time.monotonic()
    assert problem_of(text, Limits(seconds=5.0)) is None
    assert time.monotonic() - started < 4
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                assert marker not in (folder / "cmdline").read_text(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue


def test_network_is_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        problem = problem_of(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)")
        assert "Error" in problem
        with pytest.raises(TimeoutError):
            server.accept()
    assert "gaierror" in problem_of("import socket\nsocket.getaddrinfo('example.org', 80)")


def test_files_are_out_of_reach(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("token")
    secret.chmod(0o644)
    assert "FileNotFoundError" in problem_of(f"open({str(secret)!r}).read()")
    assert "FileNotFoundError" in problem_of("open('/etc/passwd').read()")
    assert "OSError" in problem_of("open('/usr/lib/x', 'w')")
    prefix = os.path.realpath(sys.base_prefix)
    assert "OSError" in problem_of(f"open({prefix + '/x'!r}, 'w')")
    assert problem_of("open('note.txt', 'w').write('a'); assert open('note.txt').read()") is None
    assert problem_of("import os; assert os.listdir() == []") is None  # nothing of the last one


def test_files_are_bounded():
    assert "File too large" in problem_of("open('big', 'w').write('a' * 10**8)")
    many = "for i in range(100):\n    open(f'f{i}', 'w').write('a' * 10**6)"
    assert "No space left" in problem_of(many)


def test_environment_and_parents_are_hidden(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert problem_of("import os; assert 'HF_TOKEN' not in os.environ") is None
    seen = "[int(p) for p in os.listdir('/proc') if p.isdigit()]"
    assert problem_of(f"import os; assert {seen} == [1], {seen}") is None


def test_privileges_are_gone():
    assert problem_of("import os; assert os.getuid() != 0") is None
    assert "Error" in problem_of("import os; os.setuid(0); raise ValueError")
    text = "text = open('/proc/self/status').read(); assert 'CapEff:\\t0000000000000000' in text"
    assert problem_of(text) is None


def test_a_flood_of_output_is_thrown_away():
    text = "import sys\nfor _ in range(50): print('a' * 10**6); sys.stderr.write('b' * 10**6)"
    assert problem_of(text) is None


def test_a_gigabyte_of_output_takes_no_memory():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = "import os\nwhile True: os.write(1, b'a' * 2**20); os.write(2, b'b' * 2**20)"
    assert problem_of(text, Limits(seconds=3.0)) == "timeout"  # gigabytes, on any machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_signals_that_are_ignored_do_not_help():
    text = (
        "import signal\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "while True: pass"
    )
    started = time.monotonic()
    assert problem_of(text, Limits(seconds=0.5)) == "timeout"
    assert time.monotonic() - started < 3


def test_other_processes_are_out_of_reach():
    with subprocess.Popen(["sleep", "60"]) as other:
        for pid in {other.pid, os.getpid(), os.getppid()} - {1}:  # inside, 1 is its own first
            assert "ProcessLookupError" in problem_of(f"import os; os.kill({pid}, 9)")
        assert "ProcessLookupError" in problem_of(f"import os; os.sched_getaffinity({other.pid})")
        problem_of("import os; os.kill(-1, 9)")  # all that it may: itself
        assert other.poll() is None
        other.kill()


def test_where_there_are_no_walls_nothing_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("bids_core.sandbox.bubblewrap.sys.platform", "darwin")
    with pytest.raises(SandboxError, match="Linux only"):
        find_bwrap()
    monkeypatch.setattr("bids_core.sandbox.bubblewrap.sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        find_bwrap()


def test_refused_namespaces_are_one_clear_line(monkeypatch, tmp_path):
    from bids_core.sandbox import execution

    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(execution, "find_bwrap", lambda: str(fake))
    execution.require_sandbox.cache_clear()
    with pytest.raises(SandboxError, match="allow user namespaces") as caught:
        run_program("")
    assert "\n" not in str(caught.value)
    execution.require_sandbox.cache_clear()


def test_an_unprivileged_user_can_run_it_too():
    """As nobody, with the system's Python: the other way of building the walls."""
    if os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root to become somebody else, and a Python that anybody can read")
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from bids_core.sandbox import run_program\n"
        "print(run_program('import os; assert os.getuid() != 0').problem)\n"
        "print(run_program('open(\"/etc/passwd\")').problem)"
    )
    repo = Path(__file__).parents[3]
    found = subprocess.run(
        ["/usr/bin/python3", "-c", code], cwd=repo, user=65534, group=65534, extra_groups=[],
        capture_output=True, text=True, check=False, env={"PATH": os.path.dirname(find_bwrap())},
    )  # fmt: skip
    if "PermissionError" in found.stderr or "ModuleNotFoundError" in found.stderr:
        pytest.skip("nobody cannot read this folder")
    assert found.stdout.splitlines()[:1] == ["None"], found.stderr
    assert "FileNotFoundError" in found.stdout
