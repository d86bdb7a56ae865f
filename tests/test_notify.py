"""What a real broker tells systemd, through a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import PATIENCE, Process

#: A broker whose loop hangs for ever once it is told to.
CODE = """
import sys, threading, time
from broker.cli import main, our_reactor
def hang():
    print("hanging", flush=True)
    time.sleep(3600)
def listen():
    sys.stdin.readline()
    our_reactor().callFromThread(hang)
our_reactor().callWhenRunning(threading.Thread(target=listen, daemon=True).start)
sys.exit(main(["run", "--port", "0", "--store", "memory:"]))
"""


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0{os.urandom(8).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(address)
        ours.settimeout(PATIENCE)
        yield ours


def broker(systemd: socket.socket, **environment: str) -> Process:
    name = systemd.getsockname()
    address = f"@{name[1:].decode()}" if isinstance(name, bytes) else name
    return Process("-c", CODE, environment={**os.environ, "NOTIFY_SOCKET": address, **environment})


def test_ready_alive_stopping(systemd: socket.socket) -> None:
    with broker(systemd, WATCHDOG_USEC="200000") as process:
        told = systemd.recv(100)
        while told == b"WATCHDOG=1":  # both are due at once
            told = systemd.recv(100)
        assert told == b"READY=1"
        port = int(process.wait_for_line(r"ready on .*:(\d+),")[1])
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.signal(signal.SIGTERM)
        while (told := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"
        assert process.wait() == 0


def test_reloading_ready_again(systemd: socket.socket) -> None:
    """`systemctl reload` shows it, and waits for it where the unit says so."""
    with broker(systemd) as process:
        assert systemd.recv(100) == b"READY=1"
        process.signal(signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.recv(100))
        assert systemd.recv(100) == b"READY=1"
        process.signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"


def test_a_loop_that_hangs_is_silent(systemd: socket.socket) -> None:
    with broker(systemd, WATCHDOG_USEC="200000") as process:
        while systemd.recv(100) != b"WATCHDOG=1":
            pass
        process.write("hang\n")
        process.wait_for_line("^hanging$")
        systemd.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                systemd.recv(100)
        systemd.settimeout(0.6)  # in which six would have come
        with pytest.raises(TimeoutError):
            systemd.recv(100)


@pytest.mark.parametrize("watch", [{}, {"WATCHDOG_PID": "1", "WATCHDOG_USEC": "1000"}])
def test_it_beats_only_if_it_was_asked_to(systemd: socket.socket, watch: dict[str, str]) -> None:
    with broker(systemd, **watch) as process:
        assert systemd.recv(100) == b"READY=1"
        process.signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"
        assert process.wait() == 0


def test_nobody_listens(tmp_path: Path) -> None:
    """The address leads nowhere: that is nothing to stop for."""
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "1000"}
    with Process("-c", CODE, environment=environment) as process:
        process.wait_for_line("ready on")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
