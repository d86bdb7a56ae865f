"""`hoofbeat reload`: the angel lets its broker read the configuration anew, and tells what came of it."""

from __future__ import annotations

import json
import os
import signal

from tests.angel.conftest import Daemon, wait_for
from tests.angel.test_angel import begin_slowly, wait_for_another


def test_a_reload_is_told_of(daemon: Daemon) -> None:
    """In a line and by the exit status; the broker that runs stays the same."""
    with daemon.config.open("a") as config:
        config.write("prefetch = 1\n")
    assert daemon.start().status == 0
    before = daemon.status()
    text = daemon.config.read_text()

    daemon.config.write_text(text.replace("prefetch = 1", "prefetch = 2\nbacklog = 7"))
    done = daemon("reload", "--data", "data")
    assert (done.status, done.errors) == (0, "")
    assert done.out == "reloaded, changed: prefetch; waiting for a restart: backlog\n"

    daemon.config.write_text("speed = 1\n")
    refused = daemon("reload", "--data", "data")
    assert (refused.status, refused.out) == (2, "")
    assert refused.errors.startswith("hoofbeat: hoof.toml: unknown setting 'speed'")
    assert refused.errors.endswith("; the configuration stays as it was\n")
    assert refused.errors.count("\n") == 1

    after = daemon.status()
    assert (after["broker"], after["angel"]) == (before["broker"], before["angel"])
    assert (after["reloads"], after["reloaded"], after["state"]) == (2, False, "running")
    with daemon.connect():
        pass


def test_the_angels_lines_change_with_the_brokers(daemon: Daemon) -> None:
    """One file, one format."""
    daemon.config.write_text(daemon.config.read_text().replace("log_bytes = 200\n", ""))
    assert daemon.start().status == 0
    with daemon.config.open("a") as config:
        config.write('log_format = "json"\n')
    before = len(daemon.log().splitlines())
    assert daemon("reload").status == 0
    dead = daemon.kill("broker")
    wait_for_another(daemon, dead)
    wait_for(lambda: '"message": "ready on' in daemon.log())
    told = [json.loads(line) for line in daemon.log().splitlines()[before:]]
    assert {"broker.reload", "broker.cli"} <= {each["namespace"] for each in told}
    assert any("was killed by SIGKILL" in each["message"] for each in told)


def test_nobody_is_there(daemon: Daemon) -> None:
    nobody = daemon("reload")
    assert (nobody.status, nobody.out) == (1, "")
    assert nobody.errors.startswith("hoofbeat: not running")


def test_a_broker_that_is_not_ready_reloads_when_it_is(daemon: Daemon) -> None:
    """The signal would end it before."""
    with begin_slowly(daemon) as command:
        os.kill(int(daemon.status()["angel"]), signal.SIGHUP)
        later = daemon.directory / "later.toml"
        later.write_text("port = 0\nprefetch = 5\n")
        with daemon.config.open("w") as pipe:  # the broker waits for its end
            later.rename(daemon.config)
            pipe.write("port = 0\n")
        assert command.wait() == 0
        status = wait_for(lambda: (told := daemon.status())["reloads"] and told)
    assert status["reload"] == "changed: prefetch"
