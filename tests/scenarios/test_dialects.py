"""What clients of ActiveMQ, of RabbitMQ and of the specification find, where these contradict each other.

One broker for each dialect; a table says who may expect what.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker import __version__
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import expect_error, is_served, put, subscribe, take

DIALECTS = ("activemq", "rabbitmq", "strict")


@pytest.fixture(scope="module", params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Run the test once for each dialect."""
    return str(request.param)


@pytest.fixture(scope="module")
def house(dialect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker whose only listener speaks the dialect."""
    process = BrokerProcess("memory:", tmp_path_factory.mktemp(dialect), {"dialect": dialect})
    yield process
    process.kill()


SERVERS = {"activemq": "ActiveMQ/5.18 ", "rabbitmq": "RabbitMQ/3.13 ", "strict": ""}


def test_the_server_header_tells_clients_the_dialect(
    house: BrokerProcess, dialect: str, connect: Connect, version: str
) -> None:
    server = connect(version, to=house).connected.headers["server"]
    assert server == f"{SERVERS[dialect]}hoofbeat/{__version__}"


def test_after_an_error_that_harms_nothing(
    house: BrokerProcess, dialect: str, connect: Connect, version: str
) -> None:
    client = connect(version, to=house)
    client.send("SEND", b"where to?")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    if dialect == "strict":
        client.expect_closed()
    else:
        assert is_served(client)


def test_after_an_error_that_leaves_nothing_to_trust(
    house: BrokerProcess, connect: Connect, version: str
) -> None:
    """All dialects close."""
    client = connect(version, to=house)
    client.write(b"SEND\ncontent-length:-1\n\n\0")
    expect_error(client.frame(), "Specified content-length may not be negative")
    client.expect_closed()


@pytest.mark.parametrize("escape", [r"\t", r"\d", r"\ "])
def test_an_undefined_escape(
    house: BrokerProcess,
    dialect: str,
    connect: Connect,
    later_version: str,
    queue: str,
    escape: str,
) -> None:
    """php-stomp never escapes: in ActiveMQ's dialect the backslash stands for itself."""
    client = connect(later_version, to=house)
    client.write(b"SEND\ndestination:%b\npath:C:%b\n\nx\0" % (queue.encode(), escape.encode()))
    if dialect == "activemq":
        subscribe(client, queue)
        (message,) = take(client, 1)
        assert message.headers["path"] == f"C:{escape}"
    else:
        expect_error(client.frame(), f"Undefined escape {escape}")
        client.expect_closed()


def test_a_backslash_in_1_0(house: BrokerProcess, connect: Connect, queue: str) -> None:
    """1.0 has no escapes, so none is undefined: all dialects take it."""
    client = connect("1.0", to=house)
    put(client, queue, b"x", path=r"C:\temp")
    subscribe(client, queue)
    (message,) = take(client, 1)
    assert message.headers["path"] == r"C:\temp"


def test_a_header_line_without_a_colon(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    client = connect(version, to=house)
    client.write(b"SEND\ndestination:%b\nurgent\n\nx\0" % queue.encode())
    if dialect == "activemq":
        subscribe(client, queue)
        (message,) = take(client, 1)
        assert message.headers["urgent"] == ""
    else:
        expect_error(client.frame(), "A header line has no colon")
        client.expect_closed()


def test_the_first_frame_is_read_in_the_dialect_too(
    house: BrokerProcess, dialect: str, connect: Connect
) -> None:
    client = connect(None, to=house)
    client.write(b"CONNECT\naccept-version:1.2\nhost:localhost\nurgent\n\n\0")
    if dialect == "activemq":
        client.expect("CONNECTED")
    else:
        expect_error(client.frame(), "A header line has no colon")
        client.expect_closed()


# --- what an operator wants otherwise ---------------------------------------------------------------


def test_a_strict_dialect_that_keeps_connections(
    start_broker: StartBroker, connect: Connect
) -> None:
    """And is still strict about the rest."""
    broker = start_broker("memory:", dialect="strict", error_policy="activemq")
    client = connect(to=broker)
    client.send("SEND", b"where to?")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    assert is_served(client)
    client.write(b"SEND\nurgent\n\n\0")
    expect_error(client.frame(), "A header line has no colon")
    client.expect_closed()


def test_escapes_and_lines_are_two_questions(start_broker: StartBroker, connect: Connect) -> None:
    broker = start_broker("memory:", undefined_escapes="error")
    client = connect(to=broker)
    client.write(b"SEND\nurgent\n\n\0")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    client.write(b"SEND\npath:C:\\temp\n\n\0")
    expect_error(client.frame(), r"Undefined escape \t")
    client.expect_closed()


def test_a_server_header_of_the_operators_own(start_broker: StartBroker) -> None:
    broker = start_broker("memory:", dialect="rabbitmq", server_header="mine/1")
    with Client(broker.port) as client:
        assert client.connected.headers["server"] == "mine/1"
