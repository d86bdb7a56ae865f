"""The commands of remote calls as a user types them: a broker, a worker and the command, a process each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import NamedTuple

import pytest

from tests.forks import Fork
from tests.processes import PATIENCE, BrokerProcess, Process

#: What the command `hoofbeat` runs.
COMMAND = "import sys\nfrom broker.cli import main\nsys.exit(main(sys.argv[1:]))"
HOOFBEAT = str(Path(sys.executable).with_name("hoofbeat"))
ROOT = Path(__file__).parent.parent.parent

PROGRAM = '''
"""Functions for the command line to call."""
import os, signal, threading, time
import rpc

URL = os.environ.get("HOOFBEAT_URL", "stomp://127.0.0.1:1")
worker = rpc.Worker(URL, service="demo", concurrency=2, doc="for the command line")
say = lambda *words: print(*words, flush=True)

@worker.method
def whee(argument):
    return {"Whee": argument}

@worker.method(idempotent=True)
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Both are whole.
    """
    return a + b

@worker.method
def echo(**named):
    return named

@worker.method(name="math.mul")
def mul(a, b):
    return a * b

@worker.method
def text():
    return "größer"

@worker.method
def data():
    return b"\\x00\\xff"

@worker.method
def header(name):
    return rpc.current().headers.get(name)

@worker.method
def fails():
    raise KeyError("two\\nlines")

@worker.method
def slow(seconds: float):
    say("slow began")
    time.sleep(seconds)
    return os.getpid()

def hold(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()

@worker.method
def count(n: int):
    try:
        for number in range(n):
            yield f"item {number}"
            time.sleep(0.01)  # so that a signal seldom cuts a frame in the middle, which ends the connection
    finally:
        say("count ended")

class Cart:
    def size(self):
        return 3

def total(*amounts: float):
    return sum(amounts)
'''


class Result(NamedTuple):
    """What a command printed, and how it ended."""

    status: int
    out: str
    errors: str


class Shell:
    """Runs commands in a directory, with a broker's address in the environment."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.environment = os.environ | {"HOOFBEAT_URL": url, "PYTHONPATH": str(ROOT)}

    def __call__(self, *words: str, given: str | None = None, **environment: str) -> Result:
        """Run `hoofbeat` with these words to its end."""
        return self.run(COMMAND, *words, given=given, **environment)

    def run(self, code: str, *words: str, given: str | None = None, **environment: str) -> Result:
        """Run Python code with these words to its end."""
        with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
            stdin.write((given or "").encode())
            stdin.seek(0)
            status = Fork(
                code,
                *words,
                stdin=stdin.fileno(),
                stdout=stdout.fileno(),
                stderr=stderr.fileno(),
                cwd=str(self.directory),
                environment=self.environment | environment,
            ).wait(PATIENCE)
            stdout.seek(0)
            stderr.seek(0)
            return Result(status, stdout.read().decode(), stderr.read().decode())

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Begin to run it."""
        return subprocess.Popen(
            [HOOFBEAT, *words],
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_until(condition: Callable[[], bool]) -> None:
    """Look until it is so; fail if it takes too long."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline


class Command(Process):
    """A command that goes on until it is ended; its output, both streams of it, line by line."""

    def __init__(self, shell: Shell, *words: str) -> None:
        super().__init__(
            "-c", COMMAND, *words, cwd=str(shell.directory), environment=shell.environment
        )


@pytest.fixture(scope="package")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return a shell with a broker of its own, in a directory with `app.py`."""
    directory = tmp_path_factory.mktemp("program")
    (directory / "app.py").write_text(PROGRAM)
    with BrokerProcess() as broker:
        yield Shell(directory, broker.url)


@pytest.fixture(scope="package")
def worker(shell: Shell) -> Iterator[Command]:
    """Return a worker that serves `demo`."""
    with Command(shell, "worker", "app:worker") as command:
        command.wait_for_line("ready")
        yield command


@pytest.fixture
def start(shell: Shell) -> Iterator[Callable[..., Command]]:
    """Return a function that begins a command which ends with the test, and the processes it has started."""
    started: list[Command] = []

    def begin(*words: str) -> Command:
        started.append(Command(shell, *words))
        return started[-1]

    yield begin
    for command in started:
        command.__exit__(None, None, None)
