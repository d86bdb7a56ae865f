"""`hoofbeat start`, `stop`, `status`, `restart`: real daemons that are killed at the wrong moment."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.angel.conftest import Daemon, wait_for
from tests.commands.conftest import Command
from tests.harness import Client

QUEUE = "/queue/kept"


def put(client: Client, body: bytes) -> None:
    """Send a message, and hear that it is on disk."""
    assert client.ask("SEND", body, destination=QUEUE).command == "RECEIPT"


def take(client: Client) -> bytes:
    """Take the next message off the queue, for good."""
    client.send("SUBSCRIBE", id_="1", destination=QUEUE)
    body = client.expect("MESSAGE").body
    assert client.ask("UNSUBSCRIBE", id_="1").command == "RECEIPT"
    return body


def test_a_day_of_an_operator(daemon: Daemon) -> None:
    """Started, looked at, not started twice, restarted as it was, stopped; what was confirmed stays."""
    began = daemon.start()
    ready = rf"hoofbeat \S+ ready on stomp://127\.0\.0\.1:{daemon.port}, store lmdb:\./data\n"
    assert re.fullmatch(ready, began.out), began
    assert (began.status, began.errors) == (0, "")
    with daemon.connect() as client:
        put(client, b"confirmed")

    told = daemon("status", "--config", "hoof.toml")
    assert told.status == 0
    assert re.search(r"^state +running$", told.out, re.MULTILINE)
    assert re.search(rf"^urls +stomp://127\.0\.0\.1:{daemon.port}$", told.out, re.MULTILINE)
    first = daemon.status()
    assert first["restarts"] == 0
    assert daemon.pid_file.read_text().startswith(f"{first['angel']}\n")
    assert daemon.pid_file.stat().st_mode & 0o777 == 0o600

    again = daemon.start()
    assert (again.status, again.out) == (1, "")
    assert again.errors.startswith("hoofbeat: already running: ")
    assert again.errors.count("\n") == 1

    restarted = daemon("restart")
    assert (restarted.status, restarted.errors) == (0, "")
    assert restarted.out == f"stopped\n{began.out}"  # the same file was read: the same port
    assert daemon.status()["broker"] != first["broker"]

    with daemon.connect() as client:
        assert take(client) == b"confirmed"
        stopped = daemon("stop")
        client.expect_closed()
    assert (stopped.status, stopped.out, stopped.errors) == (0, "stopped\n", "")
    assert not daemon.pid_file.exists()
    assert daemon("status").status == 3
    assert daemon("stop").out.startswith("not running")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", daemon.port))


def test_killed_it_comes_back_until_it_dies_at_once_again_and_again(daemon: Daemon) -> None:
    assert daemon.start().status == 0
    with daemon.connect() as client:
        put(client, b"confirmed")
        daemon.kill("broker")
        client.expect_closed()
    with daemon.connect() as client:
        assert take(client) == b"confirmed"
    status = wait_for_state(daemon, "running")
    assert (status["restarts"], status["why"]) == (1, "the broker was killed by SIGKILL")

    dead = daemon.kill("broker")
    while (status := wait_for_another(daemon, dead))["state"] != "failed":
        dead = status["broker"]
        os.kill(dead, signal.SIGKILL)  # before it was ready
    gave_up = "3 times in a row it died at once, giving up"
    assert status["why"].endswith(gave_up)
    assert "the broker was killed by SIGKILL" in daemon.log()
    told = daemon("status")
    assert told.status == 3
    assert gave_up in told.out
    log = sorted(file.name for file in (daemon.data / "log").iterdir())
    assert log == ["hoofbeat.log", "hoofbeat.log.1", "hoofbeat.log.2"]  # and no older one
    assert gave_up in daemon.log()
    assert daemon.start().status == 0  # a new day


def wait_for_another(daemon: Daemon, dead: int) -> dict[str, Any]:
    """Return the status once there is another broker, or will be none."""

    def look() -> dict[str, Any] | None:
        status = daemon.status()
        return status if status["broker"] not in (0, dead) or status["state"] == "failed" else None

    return wait_for(look)


def wait_for_state(daemon: Daemon, *states: str) -> dict[str, Any]:
    """Return the status once it is one of these."""

    def look() -> dict[str, Any] | None:
        status = daemon.status()
        return status if status["state"] in states else None

    return wait_for(look)


def test_a_configuration_that_was_broken_meanwhile_ends_it_at_once(daemon: Daemon) -> None:
    """Also a restart finds out before it stops what runs."""
    assert daemon.start().status == 0
    daemon.config.write_text("speed = 1\n")
    refused = daemon("restart", "--data", "data")
    assert (refused.status, refused.out) == (2, "")
    assert refused.errors.startswith("hoofbeat: hoof.toml: unknown setting 'speed'")
    assert daemon.status()["state"] == "running"
    by_config = daemon("status", "--config", "hoof.toml")
    assert by_config.status == 2
    assert by_config.errors.endswith("; --pidfile FILE does without it\n")

    daemon.kill("broker")
    assert wait_for_state(daemon, "failed")["why"].startswith("hoof.toml: unknown setting")
    assert daemon.status()["restarts"] == 1


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--config", "missing.toml"], 2, "cannot read missing.toml"),
        (["--port", "many"], 2, "'many'"),
        (["--data", "hoof.toml"], 2, "cannot write the pid file"),
        (["--pidfile", "."], 2, "Is a directory"),
        (["--config", "log.toml"], 2, "cannot write the log"),
        (["--store", "mysql:x"], 2, "unknown store 'mysql:x'"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    daemon: Daemon, words: list[str], status: int, reason: str
) -> None:
    (daemon.directory / "log.toml").write_text('log_file = "hoof.toml/log"\n')
    refused = daemon("start", *words)
    assert (refused.status, refused.out) == (status, "")
    assert reason in refused.errors
    assert refused.errors.startswith("hoofbeat")
    assert refused.errors.count("\n") == 1
    assert daemon("status").status == 3


def begin_slowly(daemon: Daemon) -> Command:
    """Begin a start; its broker waits for its configuration, a pipe."""
    daemon.config.unlink()
    os.mkfifo(daemon.config)
    command = daemon.begin("start", "--config", "hoof.toml")
    daemon.config.write_text("port = 0\n")  # for the command itself
    wait_for(lambda: daemon.status()["broker"])
    return command


def test_a_broker_that_dies_before_it_was_ready_is_no_start(daemon: Daemon) -> None:
    with begin_slowly(daemon) as command:
        daemon.kill("broker")
        command.wait_for_line(
            r"^hoofbeat: the broker was killed by SIGKILL before it was ready; the log is /"
        )
        assert command.wait() == 1
    assert daemon.status()["state"] == "failed"


def test_who_does_not_wait_for_the_start_wants_none(daemon: Daemon) -> None:
    with begin_slowly(daemon) as command:
        command.kill()
        daemon.config.write_text("port = 0\n")  # now the broker gets ready
        wait_for_state(daemon, "stopped")
    assert "nobody waits for the broker any more" in daemon.log()


def test_a_number_that_is_somebody_elses_by_now_is_not_trusted(daemon: Daemon) -> None:
    """A pid file that a crash has left behind names this very process."""
    daemon.data.mkdir()
    record = {"state": "running", "angel": os.getpid(), "broker": os.getpid()}
    daemon.pid_file.write_text(f"{os.getpid()}\n{json.dumps(record)}\n")
    status = daemon("status")
    assert status.status == 3
    assert re.search(r"^state +killed$", status.out, re.MULTILINE)
    assert daemon("stop").status == 0  # and this process lives
    assert daemon.start().status == 0
    assert daemon.status()["angel"] != os.getpid()


@pytest.mark.parametrize("content", ["", "4711", "\n", "x\n{}\n", '1\n{"speed": 1}\n', "\0\xff"])
def test_a_pid_file_of_another_kind(daemon: Daemon, content: str) -> None:
    daemon.data.mkdir()
    daemon.pid_file.write_text(content)
    assert daemon("status").status == 3


def test_without_its_angel_a_broker_ends_in_order(daemon: Daemon) -> None:
    """And a start at once waits for it."""
    assert daemon.start().status == 0
    with daemon.connect() as client:
        put(client, b"confirmed")
        daemon.kill("angel")
        wait_for_state(daemon, "killed")
        assert daemon.start().status == 0
        client.expect_closed()
    with daemon.connect() as client:
        assert take(client) == b"confirmed"


def test_a_pid_file_elsewhere(daemon: Daemon, tmp_path: Path) -> None:
    place = ("--pidfile", "run/broker.pid")
    assert daemon("start", "--config", "hoof.toml", *place).status == 0
    assert (tmp_path / "run" / "broker.pid").exists()
    assert daemon("status").status == 3
    assert daemon("status", *place).status == 0
    assert daemon("stop", *place).out == "stopped\n"
