"""What a client reads when something is wrong, and whether it may go on."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, expect_error, is_served, subscribe

LATER = ("1.1", "1.2")
ALL = ("1.0", *LATER)


class Fault(NamedTuple):
    """A frame that cannot be obeyed, in these versions, and ActiveMQ's words for it."""

    text: str
    command: str
    headers: dict[str, str]
    versions: tuple[str, ...] = ALL


FAULTS = [
    Fault("SEND received without a Destination specified!", "SEND", {}),
    Fault(
        "Invalid transaction id: x", "SEND", {"destination": "/queue/faults", "transaction": "x"}
    ),
    Fault("Invalid transaction id: x", "COMMIT", {"transaction": "x"}),
    Fault("Invalid transaction id: x", "ABORT", {"transaction": "x"}),
    Fault("Must specify the transaction you are beginning", "BEGIN", {}),
    Fault("Must specify the transaction you are committing", "COMMIT", {}),
    Fault("Must specify the transaction you are aborting", "ABORT", {}),
    Fault("The transaction was already started: open", "BEGIN", {"transaction": "open"}),
    Fault(
        "Unexpected ACK received for message-id [x]",
        "ACK",
        {"message-id": "x", "subscription": "s", "id": "x"},
    ),
    Fault(
        "Unexpected NACK received for message-id [x]",
        "NACK",
        {"message-id": "x", "subscription": "s", "id": "x"},
        LATER,
    ),
    Fault("NACK received but connection is in v1.0 mode.", "NACK", {"message-id": "x"}, ("1.0",)),
    Fault("ACK received without a message-id to acknowledge!", "ACK", {}, ("1.0", "1.1")),
    Fault(
        "ACK received without a subscription id for acknowledge!",
        "ACK",
        {"message-id": "x"},
        ("1.1",),
    ),
    Fault("ACK received without a ack id for acknowledge!", "ACK", {"message-id": "x"}, ("1.2",)),
    Fault(
        "NACK received without a subscription id for acknowledge!",
        "NACK",
        {"message-id": "x"},
        ("1.1",),
    ),
    Fault(
        "NACK received without an ack header to acknowledge!", "NACK", {"message-id": "x"}, ("1.2",)
    ),
    Fault(
        "SUBSCRIBE received without a subscription id!",
        "SUBSCRIBE",
        {"destination": "/queue/faults"},
        LATER,
    ),
    Fault("Invalid empty or 'null' Destination header", "SUBSCRIBE", {"id": "x"}),
    Fault(
        "Duplicated subscription identifier: s",
        "SUBSCRIBE",
        {"id": "s", "destination": "/queue/faults"},
    ),
    Fault("UNSUBSCRIBE received without a subscription id!", "UNSUBSCRIBE", {}, LATER),
    Fault(
        "Must specify the subscriptionId or the destination you are unsubscribing from",
        "UNSUBSCRIBE",
        {},
        ("1.0",),
    ),
    Fault("No subscription matched.", "UNSUBSCRIBE", {"id": "x"}),
    Fault("Invalid priority: high", "SEND", {"destination": "/queue/faults", "priority": "high"}),
    Fault("Invalid expires: soon", "SEND", {"destination": "/queue/faults", "expires": "soon"}),
    Fault("Invalid ttl: 1 h", "SEND", {"destination": "/queue/faults", "ttl": "1 h"}),
    Fault(
        "Invalid ActiveMQ.Retain: yes",
        "SEND",
        {"destination": "/topic/faults", "ActiveMQ.Retain": "yes"},
    ),
    *(
        Fault(
            f"Invalid {name}: ture",
            "SUBSCRIBE",
            {"id": "x", "destination": "/topic/faults", name: "ture"},
        )
        for name in (
            *("browser", "activemq.exclusive", "activemq.retroactive"),
            *("activemq.noLocal", "no-local", "durable", "persistent"),
        )
    ),
    Fault("destination's name is longer than", "SEND", {"destination": "/queue/" + "x" * 256}),
    Fault("destination's name is longer than", "SUBSCRIBE", {"id": "x", "destination": "é" * 200}),
]
CASES = [(fault, version) for fault in FAULTS for version in fault.versions]
NAMES = [f"{version} {fault.command} {fault.text}" for fault, version in CASES]


def prepare(client: Client) -> Client:
    """Give a client a subscription `s` and a transaction `open`."""
    subscribe(client, "/queue/faults")
    accepted(client.ask("BEGIN", transaction="open"))
    return client


@pytest.mark.parametrize(("fault", "version"), CASES, ids=NAMES)
def test_refused_frames(connect: Connect, fault: Fault, version: str) -> None:
    """ActiveMQ's words, in `message` and in the body; the connection goes on, nothing is undone.

    The ERROR comes unasked too, and then names no receipt.
    """
    client = prepare(connect(version))
    error = expect_error(client.ask(fault.command, **fault.headers), fault.text)
    assert error.headers["content-type"] == "text/plain"
    client.send(fault.command, **fault.headers)
    assert "receipt-id" not in expect_error(client.frame(), fault.text).headers
    assert is_served(client)
    accepted(client.ask("COMMIT", transaction="open"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))


def test_error_policy_strict(start_broker: StartBroker, connect: Connect) -> None:
    """Where an operator asks for it, every ERROR ends the link, as STOMP 1.2 has it."""
    broker = start_broker("memory:", error_policy="strict")
    for fault, version in CASES:
        client = prepare(connect(version, to=broker))
        expect_error(client.ask(fault.command, **fault.headers), fault.text)
        client.expect_closed()


def test_shape_of_an_error(connect: Connect, version: str) -> None:
    """`message`, `content-type` and a short body that says what would be right; no stack trace.

    No content-length: together with text/plain it crashes stompit 1.0 on newer Nodes.
    """
    client = connect(version)
    client.received = b""
    client.send("SEND", b"secret body", passcode="hunter2", receipt="r")
    error = client.frame()
    assert list(error.headers) == ["message", "content-type", "receipt-id"]
    text = error.body.decode()
    assert text.splitlines()[0] == error.headers["message"]
    assert len(text.splitlines()) == 2
    assert len(error.body) < 500
    for leak in (b"secret", b"hunter2", b"Traceback", b".py"):
        assert leak not in client.received


def test_fatal_errors_have_the_same_shape(connect: Connect, version: str) -> None:
    """The same for an ERROR after which the link closes."""
    client = connect(version)
    client.send("WHEE", receipt="r")
    error = client.frame()
    assert list(error.headers) == ["message", "content-type", "receipt-id"]
    client.expect_closed()


def test_nul_in_what_an_error_repeats(connect: Connect) -> None:
    """Nothing that a client wrote ends an ERROR early or adds a header to it."""
    client = connect("1.1")
    client.send("COMMIT", transaction="a\nb:c\\d")
    error = client.frame()
    assert error.headers["message"] == "Invalid transaction id: a\nb:c\\d"
    assert is_served(client)


def test_a_thousand_errors(connect: Connect, version: str) -> None:
    """A client that errs again and again is told each time, and stays."""
    client = connect(version)
    client.write(b"SEND\n\n\0" * 1000)
    for _ in range(1000):
        expect_error(client.frame(), "SEND received without a Destination")
    assert is_served(client)
