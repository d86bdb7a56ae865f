"""The README's remote calls, copied as they stand: each block of Python and each command is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import rpc
from tests.processes import PATIENCE, BrokerProcess, Process

ROOT = Path(__file__).parents[2]
ADDRESS = "stomp://127.0.0.1:61613"  # as the README has it; the tests' broker is elsewhere
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """Return what stands below a heading."""
    found = re.search(rf"^### {title}\n(.*?)(?=^##+ )", README, re.M | re.S)
    assert found, title
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


PYTHON = blocks(section("Remote calls"), "python")
SERVERS = [block for block in PYTHON if block.rstrip().endswith("worker.run()")]
CALLERS = [block for block in PYTHON if block not in SERVERS]
SERVICE = re.compile(r'service="(\w+)"')


def server_of(program: str) -> str:
    """Return the program that serves what another calls."""
    [server] = [each for each in SERVERS if SERVICE.findall(each) == SERVICE.findall(program)]
    return server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(store=f"lmdb:{tmp_path / 'data'}") as broker:
        yield broker


@pytest.fixture
def run(
    broker: BrokerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Process]]:
    """Return what runs a program in a process of its own, beside the others."""
    with ExitStack() as stack:

        def start(program: str) -> Process:
            assert ADDRESS in program
            monkeypatch.chdir(tmp_path)
            return stack.enter_context(Process("-c", program.replace(ADDRESS, broker.url)))

        yield start


def test_there_are_a_server_and_its_callers() -> None:
    assert len(CALLERS) >= 2
    assert all("import rpc" in block for block in PYTHON)


@pytest.mark.parametrize("number", range(len(CALLERS)))
def test_programs_run_as_they_stand(number: int, run: Callable[[str], Process]) -> None:
    """The server in one process, each caller in another; a comment behind a call tells what it returns."""
    program = CALLERS[number]
    server = run(server_of(program))
    told = re.findall(r"^([^\s#].*?)  # ([\[{(0-9'\"].*)$", program, re.M)
    assert told or "print(" in program
    for line, value in told:
        program = program.replace(f"{line}  #", f"assert ({line}) == {value}, ({line})  #")
    assert run(program).wait() == 0
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_commands_do_what_they_show(run: Callable[[str], Process], broker: BrokerProcess) -> None:
    """Each `$ hoofbeat …` of the page that calls; what it shows below is what comes."""
    for server in SERVERS:
        run(server)
        [service] = SERVICE.findall(server)
        with rpc.Client(broker.url, service) as client:  # which waits for it, as no command does
            assert client.call("rpc.ping") == "pong"
    shown = re.findall(
        r"^\$ (hoofbeat call .*)\n((?:[^$\n`].*\n)*)", section("From the command line"), re.M
    )
    assert shown
    for command, output in shown:
        words = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "broker", *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | {"HOOFBEAT_URL": broker.url, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads(output)  # a terminal gets it in several lines
