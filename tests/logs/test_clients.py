"""What a real broker logs of its clients, and what it never does."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
from pathlib import Path
from typing import Any

import pytest

from broker.logs.observer import MOST
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.logs.reading import LogFile
from tests.scenarios.steps import accepted, expect_error, is_served

SECRET, BODY = "hunter2-passcode", b"a body that nobody is to read"


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path)


def told(log: LogFile, level: str) -> list[dict[str, Any]]:
    """Return what was logged of clients at a level."""
    return [each for each in log.objects if each["level"] == level and "connection" in each]


def address_of(client: Client) -> str:
    return "{}:{}".format(*client.socket.getsockname())


def test_who_comes_and_goes_in_order_costs_no_line(start_broker: StartBroker, log: LogFile) -> None:
    broker = start_broker()
    with broker.connect(login="bob", passcode=SECRET) as client:
        accepted(client.ask("SEND", BODY, destination="/queue/a"))
        client.send("DISCONNECT", receipt="bye")
        client.expect("RECEIPT")
        client.expect_closed()
    broker.connect().close()  # without a word
    assert broker.stop() == 0
    ready, stopping, stopped = log.text.splitlines()
    assert f"[broker.cli#info] ready on {broker.url}, store lmdb:" in ready
    assert stopping.endswith("[broker.cli#info] stopping: SIGTERM")
    assert stopped.endswith("[broker.cli#info] stopped")


def test_a_fault_of_a_client_is_told_once(start_broker: StartBroker, log: LogFile) -> None:
    """With who it is, where it came from, and what it was; JSON has these for themselves."""
    broker = start_broker(log_format="json")
    with broker.connect(login="bob") as client:
        address, session = address_of(client), client.connected.headers["session"]
        client.write(b"MESSAGE\ndestination:/queue/a\n\n\0" * 10)
        expect_error(client.frame(), "MESSAGE")
        client.expect_closed()
    with broker.connect() as other:
        assert is_served(other)
    [line] = told(log, "warn")
    assert line["message"] == f"hung up on {address}, login bob: {line['error']}"
    assert line["connection"] == session
    assert (line["address"], line["login"]) == (address, "bob")
    assert line["destination"] == "/queue/a"
    assert line["error"].startswith("Protocol error: received a frame that is only expected")


def test_who_is_silent_is_told_of(start_broker: StartBroker, log: LogFile) -> None:
    """Who says no CONNECT, and who owes heart-beats."""
    broker = start_broker(connect_timeout=0.3)
    link = socket.create_connection(("127.0.0.1", broker.port), DEADLINE)
    with link, contextlib.suppress(ConnectionResetError):
        assert link.recv(100) == b""
    log.wait_for("hung up on .*: It was not let in in time$")
    with broker.connect(**{"heart-beat": "100,0"}) as client:
        client.expect_closed()
    log.wait_for("hung up on .*: Its heart-beats stayed away$")


def test_at_the_level_debug_all_who_come_and_go_are_told(
    start_broker: StartBroker, log: LogFile
) -> None:
    broker = start_broker(log_level="debug", log_format="json")
    with broker.connect(login="bob") as client:
        address = address_of(client)
        expect_error(client.ask("SEND", destination="/queue/a.>"), "Illegal")
        assert is_served(client)
    log.wait_for("has gone")
    come, refused, gone = told(log, "debug")
    assert come["message"] == f"{address} has connected, login bob"
    assert refused["message"].startswith(f"refused {address}, login bob: Illegal destination name")
    assert refused["destination"] == "/queue/a.>"
    assert gone["message"] == f"{address} has gone, login bob"


NASTY = (
    "x\\n2026-01-01T00:00:00.000+00:00 [broker.cli#info] stopped\x1b[2J\u202e"  # \n: of STOMP 1.2
)


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_client_writes_lines_of_its_own(
    start_broker: StartBroker, log: LogFile, format: str
) -> None:
    """Nor does it steer a terminal: with its login, a destination, a header, a command."""
    broker = start_broker(log_format=format, log_level="debug")
    with broker.connect(login=f"bob\x1b]0;{NASTY}") as client:
        for bad in (
            f"SEND\ndestination:/queue/{NASTY}.>\n\n\0",
            f"SEND\ndestination:/queue/a\npriority:{NASTY}\n\n\0",
            f"SEND\ndestination:/queue/a\ntransaction:{NASTY}\n\n\0",
        ):
            client.write(bad.encode())
            client.expect("ERROR")
        client.write(f"{NASTY}\n\n\0".encode())
        client.expect("ERROR")
        client.expect_closed()
    broker.stop()
    text = log.text
    assert text.count("\n") == len(text.splitlines()) == 9  # ready, come, 4 times refused, gone …
    assert text.replace("\n", "").isprintable()
    assert sum(line.endswith("[broker.cli#info] stopped") for line in text.splitlines()) <= 1
    if format == "json":
        assert {each["level"] for each in log.objects} == {"info", "debug", "warn"}


def refuse_everything(broker: BrokerProcess) -> None:
    """Make all the mistakes that bring a passcode or a body along."""
    login = {"login": "bob", "passcode": SECRET}
    with broker.connect(**login) as client:
        client.send("CONNECT", BODY, **login)
        client.expect("ERROR")
    with broker.connect(**login) as client:
        client.send(
            "SEND",
            BODY,
            passcode=SECRET,
            authorization=SECRET,
            priority="high",
            destination="/queue/a",
        )
        client.expect("ERROR")
        client.send("SEND", BODY, passcode=SECRET)
        client.expect("ERROR")
    for frame in (
        f"CONNECT\naccept-version:9\nlogin:bob\npasscode:{SECRET}\n\n\0",
        f"CONNECT\naccept-version:1.2\nlogin:bob\npasscode {SECRET}\n\n\0",
        f"CONNECT\naccept-version:1.2\nhoofbeat-peer:B\npasscode:{SECRET}\n\n\0",
        f"CONNECT\naccept-version:1.2\nheart-beat:x\npasscode:{SECRET}\n\n\0",
        f"CONNECT\naccept-version:1.2\npasscode:{SECRET}\ncontent-length:x\n\n\0",
        f"SEND\npasscode:{SECRET}\n\n{BODY.decode()}\0",
        f"passcode:{SECRET}\n\n\0",
        f"CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/queue/a\n\n\0{BODY.decode()}\0",
    ):
        with Client(broker.port, None) as client:
            client.write(frame.encode())
            client.frame()
    for authorization in (
        "Basic " + base64.b64encode(f"bob:{SECRET}".encode()).decode(),
        f"Basic {SECRET}",
        f"Bearer {SECRET}",
    ):
        web = http.client.HTTPConnection("127.0.0.1", broker.ports["http"], timeout=DEADLINE)
        web.request(
            "POST", "/queue/a", BODY, {"Authorization": authorization, "Stomp-Priority": "x"}
        )
        assert web.getresponse().status in (400, 401)
        web.close()


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_passcode_and_no_body_is_in_any_log(
    start_broker: StartBroker, log: LogFile, format: str
) -> None:
    """At the level that tells most, whatever goes wrong."""
    listener = [{"protocol": "http", "port": 0}]
    broker = start_broker(log_level="debug", log_format=format, listener=listener)
    refuse_everything(broker)
    assert broker.stop() == 0
    text = log.text
    assert text.count("hung up on") >= 6
    assert "bob" in text
    for secret in (SECRET, BODY.decode(), base64.b64encode(SECRET.encode()).decode()[:-4]):
        assert secret not in text


def test_faults_by_the_thousand_do_not_fill_a_disk(start_broker: StartBroker, log: LogFile) -> None:
    """They are counted instead."""
    broker = start_broker(log_level="warn")
    for _ in range(2 * MOST):
        with Client(broker.port, None) as client:
            client.write(b"NONSENSE\n\n\0")
            client.expect("ERROR")
    broker.stop()
    assert log.text.count("hung up on 127") == MOST
