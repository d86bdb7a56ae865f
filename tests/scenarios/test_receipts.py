"""Receipts, and the goodbye: what was confirmed is true, and the last word arrives."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.conftest import StartBroker
from tests.harness import Client, Closed
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    acknowledgement,
    drain,
    expect_error,
    put,
    subscribe,
    take,
)


def test_every_frame_gets_exactly_one_receipt(connect: Connect, version: str, queue: str) -> None:
    """Each command of a client is confirmed once, by a frame that holds the id and nothing else."""
    put(connect(version), queue, b"a", b"b")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    first, second = take(client, 2)
    steps: list[tuple[str, dict[str, str]]] = [
        ("SEND", {"destination": f"{queue}.other"}),
        ("BEGIN", {"transaction": "t"}),
        ("SEND", {"destination": f"{queue}.other", "transaction": "t"}),
        ("ACK", {"transaction": "t", **acknowledgement(client, first)}),
        ("COMMIT", {"transaction": "t"}),
        ("BEGIN", {"transaction": "t"}),
        ("ABORT", {"transaction": "t"}),
        ("ACK" if version == "1.0" else "NACK", acknowledgement(client, second)),
        ("UNSUBSCRIBE", {"id": "s"}),
        ("DISCONNECT", {}),
    ]
    for number, (command, headers) in enumerate(steps):
        client.send(command, **headers, receipt=f"r-{number}")
    for number in range(len(steps)):
        receipt = client.expect("RECEIPT")
        assert list(receipt.headers) == ["receipt-id"]
        assert receipt.body == b""
        assert receipt.headers["receipt-id"] in {f"r-{n}" for n in range(len(steps))}
        if number == len(steps) - 1:
            assert receipt.headers["receipt-id"] == f"r-{number}"
    client.expect_closed()


def test_nothing_is_confirmed_unasked(connect: Connect, version: str, queue: str) -> None:
    """Without `receipt` there is no RECEIPT."""
    client = connect(version)
    client.send("SEND", b"x", destination=queue)
    client.send("BEGIN", transaction="t")
    client.send("COMMIT", transaction="t")
    client.send("SUBSCRIBE", destination=f"{queue}.other", id="1")
    client.send("UNSUBSCRIBE", id="1")
    assert client.silent()


def test_same_receipt_id_again_and_again(connect: Connect, queue: str) -> None:
    """syslog-ng writes `receipt:0` on every message: each is confirmed."""
    client = connect("1.0")
    client.write(b"SEND\ndestination:%b\nreceipt:0\n\nlog line\0\n" % queue.encode() * 300)
    for _ in range(300):
        client.expect("RECEIPT", receipt_id="0")
    assert client.silent()


@pytest.mark.parametrize("receipt", ["", " ", "x" * 1000, "a:b", "0"])
def test_any_receipt_id(connect: Connect, later_version: str, queue: str, receipt: str) -> None:
    """A receipt id is any text, the empty one too."""
    client = connect(later_version)
    client.send("SEND", destination=queue, receipt=receipt)
    client.expect("RECEIPT", receipt_id=receipt)


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_receipts_of_one_kind_come_in_order(
    connect: Connect, version: str, queue: str, persistent: str
) -> None:
    """A thousand SENDs in a row are confirmed one by one, in the order in which they were sent."""
    client = connect(version)
    client.write(
        b"".join(
            b"SEND\ndestination:%b\npersistent:%b\nreceipt:%d\n\n\0"
            % (queue.encode(), persistent.encode(), number)
            for number in range(1000)
        )
    )
    for number in range(1000):
        client.expect("RECEIPT", receipt_id=str(number))


def test_send_with_receipt_then_the_next(connect: Connect, version: str, queue: str) -> None:
    """Net::Stomp waits for the RECEIPT as the very next frame, one message at a time."""
    client = connect(version)
    for number in range(50):
        accepted(client.ask("SEND", b"%d" % number, destination=queue))
    assert drain(connect(version), queue) == [b"%d" % n for n in range(50)]


def test_confirmed_things_survive_a_crash(start_broker: StartBroker, connect: Connect) -> None:
    """Killed right after a RECEIPT, the broker remembers what it confirmed when it comes back.

    A message sent is there, one acknowledged is gone, one refused is a dead letter.
    """
    broker = start_broker()
    put(connect(to=broker), "/queue/a", b"1", b"2", b"3")
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client-individual")
    first, second, _ = take(client, 3)
    accepted(client.ask("ACK", id=first.headers["ack"]))
    accepted(client.ask("NACK", id=second.headers["ack"]))
    put(connect(to=broker), "/queue/b", b"4")
    broker.kill()
    broker = start_broker()
    assert drain(connect(to=broker), "/queue/a") == [b"3"]
    assert drain(connect(to=broker), "/queue/b") == [b"4"]
    assert drain(connect(to=broker), "/queue/ActiveMQ.DLQ") == [b"2"]


# DISCONNECT


def test_receipt_of_disconnect_is_the_last_frame(
    connect: Connect, version: str, queue: str
) -> None:
    """Everything asked for before is answered first; after the RECEIPT the broker hangs up."""
    client = connect(version)
    subscribe(client, queue)
    for number in range(100):
        client.send("SEND", b"x", destination=f"{queue}.other", receipt=str(number))
    client.send("DISCONNECT", receipt="bye")
    for number in range(100):
        client.expect("RECEIPT", receipt_id=str(number))
    client.expect("RECEIPT", receipt_id="bye")
    client.expect_closed()


def test_frames_after_disconnect_are_not_heard(connect: Connect, version: str, queue: str) -> None:
    """What a client says after its goodbye is not done."""
    client = connect(version)
    client.write(
        b"DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:%b\n\ntoo late\0" % queue.encode()
    )
    client.expect("RECEIPT", receipt_id="bye")
    client.expect_closed()
    assert drain(connect(version), queue) == []


def test_disconnect_without_receipt(connect: Connect, version: str, queue: str) -> None:
    """Everything sent before is done, then the broker hangs up without a word."""
    client = connect(version)
    client.write(
        b"".join(b"SEND\ndestination:%b\n\n%d\0" % (queue.encode(), n) for n in range(500))
        + b"DISCONNECT\n\n\0"
    )
    client.expect_closed()
    assert drain(connect(version), queue) == [b"%d" % n for n in range(500)]


def test_disconnect_and_close_at_once(connect: Connect, queue: str) -> None:
    """Net::Stomp writes DISCONNECT and hangs up: what it sent is there, what it held is back."""
    put(connect(), queue, b"1")
    client = connect("1.0")
    subscribe(client, queue, ack="client")
    client.expect("MESSAGE")
    client.send("SEND", b"2", destination=queue)
    client.send("DISCONNECT")
    client.close()
    reader = connect()
    subscribe(reader, queue)
    assert sorted(message.body for message in take(reader, 2)) == [b"1", b"2"]


def test_disconnect_frees_everything_before_it_is_confirmed(
    connect: Connect, version: str, queue: str
) -> None:
    """Who reads the RECEIPT may come back at once and finds what the old connection held."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    for _ in range(5):
        subscribe(client, queue, ack="client-individual")
        messages = take(client, 3)
        assert [message.body for message in messages] == [b"1", b"2", b"3"]
        accepted(client.ask("DISCONNECT"))
        client = connect(version)
    subscribe(client, queue)
    messages = take(client, 3)
    assert all(message.headers["redelivered"] == "true" for message in messages)


def test_half_close(connect: Connect, version: str, queue: str) -> None:
    """A client that shuts down its sending half still reads all answers, then the end."""
    client = connect(version)
    subscribe(client, f"{queue}.quiet")
    for number in range(50):
        client.send("SEND", b"x", destination=queue, receipt=str(number))
    client.socket.shutdown(socket.SHUT_WR)
    for number in range(50):
        client.expect("RECEIPT", receipt_id=str(number))
    client.expect_closed()
    assert len(drain(connect(version), queue)) == 50


def test_error_is_read_before_the_end(connect: Connect, version: str, queue: str) -> None:
    """A fatal ERROR reaches the client although the client was still writing."""
    client = connect(version)
    client.write(
        b"SEND\ndestination:%b\nreceipt:1\n\nx\0" % queue.encode()
        + b"NONSENSE\nreceipt:2\n\n\0"
        + b"SEND\ndestination:%b\n\n%b\0" % (queue.encode(), b"y" * 200_000)
    )
    client.expect("RECEIPT", receipt_id="1")
    error = expect_error(client.frame(), "Unknown STOMP action: NONSENSE")
    assert error.headers["receipt-id"] == "2"
    client.expect_closed()
    assert drain(connect(version), queue) == [b"x"]


def test_who_does_not_hang_up_is_hung_up_on(start_broker: StartBroker, connect: Connect) -> None:
    """After the last word a client has a moment to close its end; then the broker does it."""
    broker = start_broker("memory:", linger=0.3)
    client = connect(to=broker)
    client.send("DISCONNECT", receipt="bye")
    client.expect("RECEIPT", receipt_id="bye")
    client.expect_closed()
    assert_reset(client)


def assert_reset(client: Client) -> None:
    """Write until the kernel says that nobody is there any more."""
    client.socket.settimeout(30)
    with suppress(ConnectionResetError, BrokenPipeError):
        while True:
            client.write(b"\n" * 100_000)


def test_stopping_keeps_promises(start_broker: StartBroker, connect: Connect) -> None:
    """Told to stop, the broker sends the receipts it owes, hangs up and ends with status 0."""
    broker = start_broker(linger=0.2)
    idle, writer = connect(to=broker), connect(to=broker)
    subscribe(idle, "/topic/a")
    writer.write(b"".join(b"SEND\ndestination:/queue/a\nreceipt:%d\n\n\0" % n for n in range(200)))
    writer.expect("RECEIPT", receipt_id="0")
    assert broker.stop() == 0
    confirmed = 1
    with suppress(Closed):
        while True:
            writer.expect("RECEIPT", receipt_id=str(confirmed))
            confirmed += 1
    idle.expect_closed()
    again = start_broker()
    assert len(drain(connect(to=again), "/queue/a")) >= confirmed
