"""A broker as a daemon, in a directory of the test's own; nothing of it outlives the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest

from tests.commands.conftest import Command, Result, Shell
from tests.harness import DEADLINE, Client

T = TypeVar("T")

CONFIG = """\
host = "127.0.0.1"
port = {port}
immediate_deaths = 3
log_bytes = 200
log_files = 2
"""


def wait_for(look: Callable[[], T | None]) -> T:
    """Look until there is something; fail if it takes too long."""
    deadline = monotonic() + DEADLINE
    while not (found := look()):
        assert monotonic() < deadline
    return found


class Daemon:
    """Runs `hoofbeat start` and its companions where `hoof.toml` is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.pid_file = self.data / "hoofbeat.pid"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = directory / "hoof.toml"
        self.config.write_text(CONFIG.format(port=self.port))
        self._shell = Shell(directory, f"stomp://127.0.0.1:{self.port}")

    def __call__(self, *words: str) -> Result:
        """Run `hoofbeat` with these words to its end."""
        return self._shell(*words)

    def begin(self, *words: str) -> Command:
        """Begin to run it."""
        return Command(self._shell, *words)

    def start(self) -> Result:
        return self("start", "--config", "hoof.toml")

    def status(self) -> dict[str, Any]:
        """Return what `hoofbeat status --json` says."""
        said: dict[str, Any] = json.loads(self("status", "--json").out)
        return said

    def connect(self) -> Client:
        """Return a client, as soon as the broker takes one."""

        def connect() -> Client | None:
            with contextlib.suppress(OSError):
                return Client(self.port)
            return None

        return wait_for(connect)

    def kill(self, name: str) -> int:
        """End `angel` or `broker` as kill -9 does; return its pid."""
        pid = int(self.status()[name])
        os.kill(pid, signal.SIGKILL)
        return pid

    def log(self) -> str:
        """Return the whole log, the oldest first."""
        files = sorted((self.data / "log").iterdir(), reverse=True)
        return "".join(file.read_text() for file in files)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    ended = daemon("stop", "--data", "data")
    assert ended.status == 0, ended
