"""`hoofbeat worker`: all kinds of workers, one process or several, killed and asked to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import rpc
from tests.commands.conftest import ROOT, Command, Shell, wait_until
from tests.processes import BrokerProcess

Start = Callable[..., Command]

KINDS = {
    "rpc": "import time\ndef slow():\n    say('slow began'); time.sleep(1); return os.getpid()",
    "rpc.aio": "import asyncio\nasync def slow():\n    say('slow began'); await asyncio.sleep(1); return os.getpid()",
    "rpc.tx": "from twisted.internet import reactor, task\ndef slow():\n    say('slow began')\n"
    "    return task.deferLater(reactor, 1, os.getpid)",
}
READY = r"^hoofbeat \S+ worker ready: (\S+) at 127\.0\.0\.1:\d+ as (\S+)$"


def write(shell: Shell, text: str) -> str:
    """Write a module and return its name."""
    name = f"module_{uuid.uuid4().hex}"
    (shell.directory / f"{name}.py").write_text(text)
    return name


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, shell: Shell) -> str:
    """Return the name of a module with a worker of each kind, which knows a broker that is not there."""
    face = request.param
    return write(
        shell,
        f"import os, {face}\n"
        "say = lambda *words: print(*words, flush=True)\n"
        f"worker = {face}.Worker('stomp://127.0.0.1:1', service='kinds', concurrency=5)\n"
        f"{KINDS[face]}\nworker.method(slow)\n",
    )


def test_sigterm_lets_a_running_call_finish(kind: str, shell: Shell, start: Start) -> None:
    """And the options of the command line win over what the program says."""
    worker = start("worker", f"{kind}:worker", "--url", shell.url, "--name", "me")
    assert worker.wait_for_line(READY).groups() == ("kinds", "me")
    with rpc.Client(shell.url, "kinds") as client:
        future = client.submit("slow")
        worker.wait_for_line("slow began")
        worker.signal(signal.SIGTERM)
        assert future.result() == worker.pid
    assert worker.wait() == 0


def test_a_second_signal_ends_it_at_once(kind: str, shell: Shell, start: Start) -> None:
    worker = start("worker", f"{kind}:worker", "--url", shell.url)
    worker.wait_for_line(READY)
    with rpc.Client(shell.url, "kinds") as client:
        client.notify("slow")
        worker.wait_for_line("slow began")
        worker.signal(signal.SIGINT)
        wait_until(lambda: not signal_is_heeded(worker.pid, signal.SIGTERM))
        worker.signal(signal.SIGTERM)
    assert worker.wait() == -signal.SIGTERM


def signal_is_heeded(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal, as the kernel knows it."""
    found = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return bool(int(found[1], 16) >> (number - 1) & 1)


def test_concurrency(shell: Shell, start: Start, tmp_path: Path) -> None:
    """As many calls are taken from the queue ahead: the others wait in it."""
    worker = start("worker", "app:hold", "--service", "few", "--concurrency", "2")
    worker.wait_for_line(READY)
    free = tmp_path / "free"
    with rpc.Client(shell.url, "broker") as broker, rpc.Client(shell.url, "few") as client:

        def few() -> tuple[int, int]:
            [found] = [each for each in broker.call("services") if each["name"] == "few"]
            return found["in_flight"], found["waiting"]

        futures = [client.submit("hold", str(free)) for _ in range(5)]
        wait_until(lambda: few() == (2, 3))
        free.touch()
        assert {future.result() for future in futures} == {worker.pid}


@pytest.mark.parametrize(
    ("what", "call", "result"),
    [
        (["app:total"], ["total", 1, 2], 3),
        (["app:Cart"], ["size"], 3),
        (["app:Cart.size", "app:total"], ["total", 2], 2),
        (["textwrap"], ["dedent", "  a"], "a"),
        (["os.path:basename"], ["basename", "/a/b"], "b"),
    ],
)
def test_functions_classes_and_modules(
    shell: Shell, start: Start, what: list[str], call: list[object], result: object
) -> None:
    service = f"s{uuid.uuid4().hex}"
    worker = start("worker", *what, "--service", service)
    assert worker.wait_for_line(READY)[1] == service
    with rpc.Client(shell.url, service) as client:
        assert client.call(*call) == result  # type: ignore[arg-type]


# --- what cannot start ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "WHAT"),
        (["nowhere:worker"], "cannot import nowhere: there is no module 'nowhere' in /"),
        (["nowhere.at.all:worker"], "there is no module 'nowhere' in /"),
        (["nowhere:worker", "--processes", "3"], "cannot import nowhere"),
        (["app:nothing"], "there is no 'nothing' in app"),
        (["app.py:worker"], "is a file"),
        (["syntax:worker"], "cannot import syntax: SyntaxError: "),
        (
            ["missing:worker"],
            "cannot import missing: ModuleNotFoundError: No module named 'nosuch' (",
        ),
        (["runs:worker"], "cannot import runs: RuntimeError: worker.run() is for `if __name__"),
        (["exits:worker"], "cannot import exits: SystemExit: 3 ("),
        (["app"], "app is no Worker; for functions, a class or a module give --service"),
        (["app:total", "--service", "a/b"], "A service's name"),
        (["app:URL", "--service", "a"], "app:URL is a str, which has no functions to offer"),
        (["app:worker", "--service", "a"], "knows its service"),
        (["app:worker", "app:total"], "a Worker serves alone"),
        (["app:worker", "--url", "http://x"], "the scheme is 'http'"),
        (["app:worker", "--concurrency", "0"], "less than 1"),
        (["app:worker", "--processes", "none"], "invalid count value"),
    ],
)
def test_what_cannot_start(shell: Shell, words: list[str], reason: str) -> None:
    """One clear line, status 2; also if there were to be several processes."""
    (shell.directory / "syntax.py").write_text("def f(:\n")
    (shell.directory / "missing.py").write_text("import nosuch\n")
    (shell.directory / "exits.py").write_text("raise SystemExit(3)\n")
    (shell.directory / "runs.py").write_text("from app import worker\nworker.run()\n")
    status, out, errors = shell("worker", *words)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("hoofbeat")
    assert reason in errors


# --- several processes ----------------------------------------------------------------------------


def test_several_processes_come_back_when_they_are_killed(shell: Shell, start: Start) -> None:
    workers = start("worker", "app:slow", "--service", "many", "--processes", "2", "--name", "me")
    assert {workers.wait_for_line(READY)[2] for _ in range(2)} == {"me-1", "me-2"}
    with rpc.Client(shell.url, "many") as client:
        future = client.submit("slow", 0.3)
        workers.wait_for_line("slow began")
        for pid in children(workers.pid):
            os.kill(pid, signal.SIGKILL)
        for _ in range(2):
            workers.wait_for_line("was killed by SIGKILL; another starts in")
        workers.wait_for_line("slow began")  # again: the call was not lost
        assert future.result() in children(workers.pid)
        future = client.submit("slow", 1)
        workers.wait_for_line("slow began")
        workers.signal(signal.SIGTERM)
        assert isinstance(future.result(), int)
    assert workers.wait() == 0


def children(pid: int) -> set[int]:
    """Return the processes that a process has started."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_second_signal_kills_them(shell: Shell, start: Start) -> None:
    workers = start("worker", "app:slow", "--service", "killed", "--processes", "2")
    for _ in range(2):
        workers.wait_for_line(READY)
    with rpc.Client(shell.url, "killed") as client:
        client.notify("slow", 3600)
        workers.wait_for_line("slow began")
        busy = children(workers.pid)
        workers.signal(signal.SIGINT)
        # The other one has nothing to do, and ends.
        wait_until(lambda: len(children(workers.pid)) == 1)
        workers.signal(signal.SIGTERM)
        assert workers.wait() == 128 + signal.SIGTERM
    assert not any(is_running(pid) for pid in busy)


def test_they_end_when_who_watches_them_is_killed(shell: Shell, start: Start) -> None:
    """In order: a call that runs is finished."""
    workers = start("worker", "app:slow", "--service", "orphan", "--processes", "1")
    workers.wait_for_line(READY)
    with rpc.Client(shell.url, "orphan") as client:
        future = client.submit("slow", 0.5)
        workers.wait_for_line("slow began")
        [child] = children(workers.pid)
        workers.kill()
        assert future.result() == child
    wait_until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no zombie that nobody buries."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_what_dies_again_and_again_is_given_up(shell: Shell) -> None:
    module = write(shell, "import os\nos._exit(7)\n")
    status, out, errors = shell("worker", f"{module}:worker", "--processes", "2")
    assert (status, out) == (1, "")
    *earlier, last = errors.splitlines()
    assert len(earlier) == 4
    assert re.fullmatch(
        r"hoofbeat: worker process \d+ ended with status 7; 5 in a row were never ready, giving up",
        last,
    )


def test_a_module_of_ours_is_not_looked_for_in_the_current_directory(
    shell: Shell, start: Start, tmp_path: Path
) -> None:
    """A program may well have a module `broker`."""
    (tmp_path / "broker.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "app.py").write_text("def total(*amounts): return sum(amounts)\n")
    other = Shell(tmp_path, shell.url)
    with Command(other, "worker", "app:total", "--service", "own", "--processes", "1") as workers:
        workers.wait_for_line(READY)
        assert shell("call", "own.total", "1", "2").out == "3\n"


# --- the broker -----------------------------------------------------------------------------------


def test_a_broker_that_refuses_it(shell: Shell, tmp_path: Path) -> None:
    """Its words at the end, status 1."""
    config = tmp_path / "small.toml"
    config.write_text("max_header_line = 64\n")
    with BrokerProcess(config=str(config)) as broker:
        status, out, errors = shell(
            "worker", "app:total", "--service", "a" * 64, "--url", broker.url
        )
    assert (status, out) == (1, "")
    assert errors.splitlines()[-1].startswith("hoofbeat: BrokerRefused: The maximum header length")


def test_the_broker_and_the_settings_are_started_without_all_this() -> None:
    """What they import is what they cost."""
    code = (
        "import sys; from broker.cli import main; main(['settings'])\n"
        "print([name for name in sys.modules if name.startswith(('rpc', 'rich', 'argcomplete'))])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert ended.stdout.splitlines()[-1] == b"[]"
