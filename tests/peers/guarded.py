"""A broker under an angel, as an operator starts it: whoever kills it need not start it again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.harness import DEADLINE, Client, to_toml
from tests.peers.nodes import Node

HOOFBEAT = [sys.executable, "-m", "broker"]
LOOK_EVERY = 0.05  # seconds


class Guarded:
    """What a client needs of it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, version: str = "1.2", **headers: str) -> Client:
        """Return a client that is logged in."""
        return Client(self.port, version, **headers)


class GuardedNode(Node):
    """One broker with a name, and its angel."""

    def __init__(self, name: str, directory: Path, store: str = "") -> None:
        """It has a port of its own, where it is found again."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        super().__init__(name, directory, store, port=port, immediate_deaths=1000)
        self.settings["store"] = self._store
        self._guarded = Guarded(port)
        self._killed = 0  # the process that was killed last
        self._runs = False

    @property
    def broker(self) -> Any:
        """Whoever listens there."""
        return self._guarded

    def start(self) -> None:
        """Start the angel, or wait until it has started another broker."""
        if not self._runs:
            (self.directory / "hoofbeat.toml").write_text(to_toml(self.settings))
            self._run("start")
            self._runs = True
        end = time.monotonic() + DEADLINE
        while (told := self._told())["state"] != "running" or told["broker"] == self._killed:
            assert time.monotonic() < end, told
            time.sleep(LOOK_EVERY)
        self.door.target = self._guarded.port

    def kill(self) -> None:
        """Kill -9."""
        self.door.target = 0
        self._killed = self._told()["broker"]
        os.kill(self._killed, signal.SIGKILL)

    def end(self) -> None:
        """All is over."""
        self.hang_up()
        if self._runs:
            self._run("stop")
        self.door.close()

    def _told(self) -> dict[str, Any]:
        """Return how things stand, as the angel has written it down."""
        lines = (self.directory / "data" / "hoofbeat.pid").read_text().split("\n")
        return dict(json.loads(lines[1]))

    def _run(self, command: str) -> None:
        words = [*HOOFBEAT, command, "--config", "hoofbeat.toml"]
        done = subprocess.run(
            words, cwd=self.directory, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done
