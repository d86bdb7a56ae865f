"""SIGHUP: a broker that runs takes over another configuration, all of it or nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.harness import COMMAND, DEADLINE, Client
from tests.logs.reading import LogFile
from tests.scenarios.conftest import Connect
from tests.scenarios.people import log_in, with_people
from tests.scenarios.steps import accepted, bodies, expect_error, is_served, put, subscribe, take


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path)


def policy(**settings: object) -> dict[str, object]:
    return {"destination": {"jobs.>": settings}}


def test_policies_hold_for_destinations_that_are_there(
    start_broker: StartBroker, log: LogFile
) -> None:
    """And for producers that have sent there before."""
    broker = start_broker(prefetch=5)
    with broker.connect() as client:
        put(client, "/queue/jobs.a", b"1", b"2")
        said = log.reload(broker, policy(max_messages=2, at_limit="error"))
        assert said.endswith("; changed: prefetch, [destination]")
        full = client.ask("SEND", b"3", destination="/queue/jobs.a")
        expect_error(full, "The queue jobs.a is full")
        assert full.headers["retry"] == "true"
        log.reload(broker, policy(max_messages=2, at_limit="drop-oldest"))
        put(client, "/queue/jobs.a", b"3")
        log.reload(broker, {})
        put(client, "/queue/jobs.a", b"4", b"5")
        subscribe(client, "/queue/jobs.a")
        assert bodies(take(client, 4)) == [b"2", b"3", b"4", b"5"]


def test_who_waits_for_room_goes_on_when_there_is_more(
    start_broker: StartBroker, log: LogFile
) -> None:
    broker = start_broker(**policy(max_messages=1))
    with broker.connect() as producer, broker.connect() as other:
        put(producer, "/queue/jobs.a", b"1")
        producer.send("SEND", b"2", destination="/queue/jobs.a", receipt="2")
        assert is_served(other)
        log.reload(broker, policy(max_messages=10))
        producer.expect("RECEIPT", receipt_id="2")


def test_a_topic_keeps_more_and_less_for_those_who_come_later(
    start_broker: StartBroker, log: LogFile
) -> None:
    broker = start_broker(prefetch=5)
    late = {"activemq.retroactive": "true"}
    with broker.connect() as client:
        for number, settings in enumerate(
            (policy(recover_messages=2), {}, policy(recover_messages=1))
        ):
            put(client, "/topic/jobs.a", b"before")
            log.reload(broker, settings)
            put(client, "/topic/jobs.a", b"1", b"2")
            client.send("SUBSCRIBE", **{"destination": "/topic/jobs.a", "id": f"{number}", **late})
            kept = [[b"1", b"2"], [], [b"2"]][number]
            assert bodies(take(client, len(kept))) == kept
            accepted(client.ask("UNSUBSCRIBE", id_=f"{number}"))


def test_limits_hold_for_connections_made_from_now_on(
    start_broker: StartBroker, log: LogFile
) -> None:
    broker = start_broker(max_headers=20)
    with broker.connect() as old:
        log.reload(broker, {"max_headers": 5})
        many = {f"h{number}": "x" for number in range(10)}
        accepted(old.ask("SEND", destination="/queue/a", **many))
        with broker.connect() as new:
            new.send("SEND", destination="/queue/a", **many)
            expect_error(new.frame(), "number of headers")


def test_rights_and_users_hold_at_once(
    start_broker: StartBroker, connect: Connect, log: LogFile, tmp_path: Path
) -> None:
    """Who may not any more is told so and disconnected; who may now, may; a passcode that is new is asked for."""
    settings = with_people(tmp_path, rights={"orders": {"read": "alice", "write": "@shops"}})
    broker = start_broker(**settings)
    alice, bob = (log_in(connect, name, broker) for name in ("alice", "bob"))
    put(bob, "/queue/orders", b"1")
    subscribe(alice, "/queue/orders", ack="client")
    assert bodies(take(alice, 1)) == [b"1"]
    refused = bob.ask("SUBSCRIBE", destination="/queue/orders", id_="1")
    expect_error(refused, "User bob is not authorized to read from: queue://orders")

    wrong = {**settings, "rights": {"orders": {"reed": "bob"}}}
    log.reload(broker, wrong, "stays as it was")
    put(bob, "/queue/orders", b"2")

    log.reload(broker, {**settings, "rights": {"orders": {"read": "bob", "write": "alice"}}})
    assert bodies(take(alice, 1)) == [b"2"]
    expect_error(alice.frame(), "User alice is not authorized to read from: queue://orders")
    alice.expect_closed()
    refused = bob.ask("SEND", destination="/queue/orders")
    expect_error(refused, "User bob is not authorized to write to: queue://orders")
    subscribe(bob, "/queue/orders")
    assert bodies(take(bob, 2)) == [b"1", b"2"]

    users = Path(str(settings["users"]))
    users.write_text("".join(re.findall("boss.*\\n|bob.*\\n", users.read_text())))
    with pytest.raises(AssertionError, match="password is invalid"):
        log_in(connect, "alice", broker)
    put(log_in(connect, "boss", broker), "/queue/orders", b"3")


def test_what_waits_for_a_restart_is_named(start_broker: StartBroker, log: LogFile) -> None:
    """And what can be taken over is."""
    broker = start_broker(prefetch=5)
    settings: dict[str, object] = {"backlog": 7, "max_body": 10, "log_level": "debug"}
    log.reload(broker, {**settings, "listener": [{"port": 0}]})
    line = log.wait_for("these settings wait for a restart")
    assert line.endswith("restart: backlog, max_body, [listener]")
    with broker.connect():
        log.wait_for("has connected")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prefetch = ", "Invalid value"),
        ("speed = 1", "unknown setting 'speed'"),
        ('prefetch = 1\nlog_level = "loud"', "log_level must be one of"),
        ('prefetch = 1\n[destination."a b,"]\nmax_messages = 1', "a section has one pattern"),
        ("port = 99999", "port must be at most 65535"),
    ],
)
def test_a_broken_file_changes_nothing(
    start_broker: StartBroker, log: LogFile, text: str, reason: str
) -> None:
    """The log says what the start would have said; the broker goes on, and takes the next file."""
    broker = start_broker(prefetch=2)
    line = log.reload(broker, text)
    assert "#error] the configuration stays as it was: " in line
    assert reason in line
    assert "Traceback" not in log.text
    with broker.connect() as client:
        put(client, "/queue/a", *[b"x"] * 4)
        subscribe(client, "/queue/a", ack="client-individual")
        take(client, 2)  # as many as before
        assert is_served(client)
    log.reload(broker, {"prefetch": 3}, "the configuration was read anew; changed: prefetch")


def test_a_file_that_is_gone_changes_nothing(
    start_broker: StartBroker, log: LogFile, tmp_path: Path
) -> None:
    broker = start_broker(prefetch=2)
    (tmp_path / "hoofbeat.toml").unlink()
    broker.process.send_signal(signal.SIGHUP)
    assert "No such file" in log.wait_for("stays as it was")


def test_the_log_changes_its_format(start_broker: StartBroker, log: LogFile) -> None:
    broker = start_broker(prefetch=2)
    line = log.reload(broker, {"log_format": "json"})
    message = "the configuration was read anew; changed: prefetch, log_format"
    assert json.loads(line)["message"] == message
    line = log.reload(broker, {"log_format": "text"})
    assert line.endswith(
        "[broker.reload#info] the configuration was read anew; changed: log_format"
    )


def test_many_signals_at_once(start_broker: StartBroker, log: LogFile) -> None:
    """Clients do not notice."""
    broker = start_broker(prefetch=2)
    with broker.connect() as client:
        for _ in range(20):
            broker.process.send_signal(signal.SIGHUP)
            put(client, "/queue/a", b"x")
    assert broker.stop() == 0
    assert "Traceback" not in log.text


def test_flags_win_over_the_file_again(
    tmp_path: Path, start_broker: StartBroker, log: LogFile
) -> None:
    """The first listener's port is a flag here: what the file says of it is nothing new."""
    broker = start_broker(prefetch=2)
    log.reload(broker, {"port": 1, "prefetch": 2})
    assert log.wait_for("was read anew").endswith("changed: nothing")
    assert "wait for a restart" not in log.text


def test_a_terminal_that_is_closed_ends_it_in_order(tmp_path: Path) -> None:
    """As any program that runs in it: SIGHUP says so, and is no wish to reload then."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [*COMMAND, "--store", "memory:"])
    said = b""
    while b"ready on" not in said or b"\n" not in said:
        said += os.read(terminal, 1000)
    port = int(said.rpartition(b"127.0.0.1:")[2].partition(b",")[0])
    with Client(port) as client:
        os.close(terminal)
        client.expect_closed()
    deadline = time.monotonic() + DEADLINE
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0


def test_virtual_hosts(start_broker: StartBroker, log: LogFile) -> None:
    """Policies, names and people of each: at once, and of the broker's only what a host does not say."""
    shop = {"destination": {"jobs.b": {"max_messages": 5}}}
    broker = start_broker(virtual_host={"shop": {}, "bank": {"people": "@nobody"}})
    with broker.connect(host="shop") as client:
        put(client, "/queue/jobs.a", b"1")
        said = log.reload(
            broker,
            {
                **policy(max_messages=1, at_limit="error"),
                "virtual_host": {"shop": {**shop, "names": "laden"}, "bank": {"store": "memory:"}},
            },
        )
        assert "changed: [destination], [virtual_host]" in said
        full = client.ask("SEND", b"2", destination="/queue/jobs.a")
        expect_error(full, "The queue jobs.a is full")
        put(client, "/queue/jobs.b", b"1", b"2")
    with broker.connect(host="laden") as client:
        subscribe(client, "/queue/jobs.b")
        assert bodies(take(client, 2)) == [b"1", b"2"]
    with broker.connect(host="bank") as client:
        put(client, "/queue/jobs.a", b"1")
        expect_error(client.ask("SEND", b"2", destination="/queue/jobs.a"), "is full")
    log.wait_for(r"wait for a restart: \[virtual_host\]$")
