"""Other ways to start a broker: with a defect, with a clock that can be set, under strace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Launch, Running, fork

#: Starts a broker that is healthy, or has a defect; what a fault test is called with.
Start = Callable[..., BrokerProcess]

BROKEN = "tests.faults.broken"


def broken(names: str, launch: Launch = fork) -> Launch:
    """Launch `hoofbeat run` with what `tests.faults.broken` calls by these names."""

    def launch_broken(
        arguments: Sequence[str], directory: Path, stdout: int, stderr: int
    ) -> Running:
        _, module, *rest = arguments
        if module == BROKEN:  # by somebody else, too
            more, *rest = rest
            return launch(("-m", BROKEN, f"{more},{names}", *rest), directory, stdout, stderr)
        return launch(("-m", BROKEN, names, *rest), directory, stdout, stderr)

    return launch_broken


def traced(*options: str) -> Launch:
    """Launch under strace with these options. The process is the broker, strace stands aside (-D)."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail(
            "this fault needs strace, which is not installed (Debian: apt-get install strace)"
        )

    return through(strace, "-D", "-f", "--seccomp-bpf", "-qq", *options)


def inside(pid: int) -> Launch:
    """Launch in the mount namespace of another process."""
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return through("nsenter", "--target", str(pid), "--mount", *user)


def through(*command: str) -> Launch:
    """Launch through a command that becomes what it is told to run."""

    def launch(arguments: Sequence[str], directory: Path, stdout: int, stderr: int) -> Running:
        return subprocess.Popen(
            [*command, sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=directory,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    return launch


def with_defect(start: StartBroker, name: str) -> Start:
    """Return a function that starts brokers which all have a defect, whatever else is launched with them."""

    def start_broken(store: str = "", launch: Launch = fork, **settings: object) -> BrokerProcess:
        return start(store, broken(name, launch), **settings)

    return start_broken
