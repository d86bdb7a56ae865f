"""What one client may have and make: allowed at the limit, refused above it with words that say what would be right."""

from __future__ import annotations

import time

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, bodies, expect_error, is_served, put, subscribe, take

ID = "x" * 1000  # as long as an id may be
DURABLE = "activemq.subscriptionName"
LIMITS: dict[str, object] = {
    "max_subscriptions": 3,
    "max_transactions": 2,
    "max_transaction_frames": 4,
    "max_transaction_bytes": 100_000,
    "max_connect_frame": 400,
}


@pytest.fixture
def limited(start_broker: StartBroker) -> BrokerProcess:
    """Return a broker that allows little."""
    return start_broker("memory:", **LIMITS)


def test_subscriptions(limited: BrokerProcess, connect: Connect) -> None:
    client, other = connect(to=limited), connect(to=limited)
    for id in "abc":
        subscribe(client, f"/queue/{id}", id=id)
    refused = client.ask("SUBSCRIBE", destination="/queue/d", id="d")
    expect_error(refused, "Too many subscriptions: a connection has 3 at most")
    assert "wildcard" in refused.body.decode()
    subscribe(other, "/queue/d", id="d")  # another connection has its own
    accepted(client.ask("UNSUBSCRIBE", id="a"))
    subscribe(client, "/queue/e", id="e")
    put(other, "/queue/b", b"still served")
    assert client.expect("MESSAGE").body == b"still served"


def test_temporary_destinations(limited: BrokerProcess, connect: Connect) -> None:
    """Also those that are only named in a reply-to; the ones that are there can be used."""
    client = connect(to=limited)
    for name in "abc":
        accepted(client.ask("SEND", destination="/queue/x", reply_to=f"/temp-queue/{name}"))
    refused = client.ask("SEND", destination="/queue/x", reply_to="/temp-queue/d")
    expect_error(refused, "Too many temporary destinations: a connection has 3 at most")
    expect_error(client.ask("SEND", destination="/temp-topic/d"), "Too many temporary")
    put(client, "/temp-queue/c", b"x")
    subscribe(client, "/temp-queue/c")
    assert client.expect("MESSAGE").body == b"x"


def test_open_transactions(limited: BrokerProcess, connect: Connect) -> None:
    client = connect(to=limited)
    accepted(client.ask("BEGIN", transaction="1"))
    accepted(client.ask("BEGIN", transaction="2"))
    refused = client.ask("BEGIN", transaction="3")
    expect_error(refused, "Too many transactions: a connection has 2 at most")
    accepted(client.ask("COMMIT", transaction="1"))
    accepted(client.ask("BEGIN", transaction="3"))


def test_a_frame_to_many_counts_for_each(limited: BrokerProcess, connect: Connect) -> None:
    """COMMIT does all in one go."""
    client = connect(to=limited)
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/out.1,/queue/out.2,/queue/out.3", b"1", transaction="t")
    refused = client.ask("SEND", destination="/queue/out.1,/queue/out.2", transaction="t")
    expect_error(refused, "The transaction is too large: 4 frames")
    accepted(client.ask("ABORT", transaction="t"))


def test_frames_in_a_transaction(limited: BrokerProcess, connect: Connect, queue: str) -> None:
    """All it holds is done; one that was to hold more is not, however often COMMIT is said."""
    client, other = connect(to=limited), connect(to=limited)
    put(client, queue, b"a", b"b")
    subscribe(client, queue, ack="client-individual")
    first, second = take(client, 2)
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/out", b"1", b"2", b"3", transaction="t")
    accepted(client.ask("ACK", id=first.headers["ack"], transaction="t"))
    accepted(client.ask("COMMIT", transaction="t"))
    subscribe(other, "/queue/out")
    assert bodies(take(other, 3)) == [b"1", b"2", b"3"]
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/out", *[b"never"] * 4, transaction="t")
    for verb in ("ACK", "NACK"):
        refused = client.ask(verb, id=second.headers["ack"], transaction="t")
        expect_error(refused, "The transaction is too large: 4 frames")
    for _ in range(2):
        expect_error(client.ask("COMMIT", transaction="t"), "The transaction is too large")
    accepted(client.ask("ABORT", transaction="t"))
    accepted(client.ask("ACK", id=second.headers["ack"]))  # it is not held any more
    put(client, "/queue/out", b"4")
    assert other.expect("MESSAGE").body == b"4"


def test_bytes_in_a_transaction(limited: BrokerProcess, connect: Connect) -> None:
    client = connect(to=limited)
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/a", bytes(90_000), transaction="t")
    refused = client.ask("SEND", bytes(10_000), destination="/queue/a", transaction="t")
    expect_error(refused, "100000 bytes are the most")
    expect_error(client.ask("COMMIT", transaction="t"), "too large")
    accepted(client.ask("ABORT", transaction="t"))
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/a", bytes(90_000), transaction="t")
    accepted(client.ask("COMMIT", transaction="t"))


def test_destinations(start_broker: StartBroker, connect: Connect) -> None:
    """Queues, topics, temporary ones and durable subscriptions together; what is there is served, unused ones go."""
    broker = start_broker("memory:", max_destinations=5, sweep_every=0.05)
    client = connect(to=broker, client_id="me")
    subscribe(client, "/queue/a", id="a")
    subscribe(client, "/topic/b", id="b")
    subscribe(client, "/temp-queue/c", id="c")
    subscribe(client, "/topic/b", id="d", **{DURABLE: "d"})
    subscribe(client, "/queue/e", id="e")
    for refused in (
        client.ask("SEND", destination="/queue/f"),
        client.ask("SEND", destination="/topic/f"),
        client.ask("SEND", destination="/queue/a,/queue/f"),
        client.ask("SEND", destination="/temp-queue/f"),
        client.ask("SUBSCRIBE", destination="/queue/f", id="f"),
        client.ask("SUBSCRIBE", destination="/topic/b", id="f", **{DURABLE: "f"}),
    ):
        expect_error(refused, "Too many destinations: 5 are the most")
        assert refused.headers["retry"] == "true"
    put(connect(to=broker), "/queue/a", b"served")
    assert client.expect("MESSAGE").body == b"served"
    accepted(client.ask("UNSUBSCRIBE", id="e"))
    end = time.monotonic() + DEADLINE
    while client.ask("SEND", b"x", destination="/queue/f").command == "ERROR":
        assert time.monotonic() < end


def test_a_transaction_whose_destination_is_gone(
    start_broker: StartBroker, connect: Connect
) -> None:
    """No room for its queue at COMMIT: the transaction stays open, and nothing of it is done or lost."""
    broker = start_broker("memory:", max_destinations=1, sweep_every=0.05)
    client, other = connect(to=broker), connect(to=broker)
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, "/queue/a", b"x", transaction="t")
    end = time.monotonic() + DEADLINE
    while other.ask("SEND", b"in the way", destination="/queue/b").command == "ERROR":
        assert time.monotonic() < end
    expect_error(client.ask("COMMIT", transaction="t"), "Too many destinations")
    subscribe(other, "/queue/b")
    assert other.expect("MESSAGE").body == b"in the way"
    other.close()
    while client.ask("COMMIT", transaction="t").command == "ERROR":
        assert time.monotonic() < end
    subscribe(client, "/queue/a")
    assert client.expect("MESSAGE").body == b"x"


def test_ids(connect: Connect, queue: str) -> None:
    """What the broker remembers as long as a thing lives is short."""
    client = connect()
    subscribe(client, queue, id=ID)
    expect_error(client.ask("SUBSCRIBE", destination=queue, id=ID + "x"), "The header id is longer")
    accepted(client.ask("BEGIN", transaction=ID))
    refused = client.ask("BEGIN", transaction=ID + "x")
    expect_error(refused, "The header transaction is longer than 1000 bytes")
    name = "/temp-queue/" + ID
    refused = client.ask("SEND", destination=queue, reply_to=name)
    expect_error(refused, "The header destination is longer than 1000 bytes")
    assert is_served(client)


def test_client_ids(connect: Connect) -> None:
    assert is_served(connect(client_id=ID))
    stranger = connect(None)
    stranger.write(Frame("CONNECT", {"client-id": ID + "x"}).encode("1.0"))
    expect_error(stranger.frame(), "The header client-id is longer than 1000 bytes")
    stranger.expect_closed()


@pytest.mark.parametrize("command", ["SEND", "BEGIN"])
def test_receipts(connect: Connect, queue: str, command: str) -> None:
    """Thousands of receipts may wait for the disk."""
    client = connect()
    client.send(command, destination=queue, transaction_="t", receipt=ID)
    if command == "SEND":
        expect_error(client.frame(), "Invalid transaction id")
        client.send(command, destination=queue, receipt=ID)
    client.expect("RECEIPT", receipt_id=ID)
    client.send(command, destination=queue, receipt=ID + "x")
    expect_error(client.frame(), "The header receipt is longer than 1000 bytes")
    client.expect_closed()


def test_strangers_say_little(limited: BrokerProcess, connect: Connect) -> None:
    """Before login a frame is short, also one that is never complete; afterwards it may be long."""
    start = "CONNECT\naccept-version:1.2\nhost:h\npasscode:"
    text = start + "x" * (400 - len(start))
    fits = connect(None, to=limited)
    fits.write(text.encode() + b"\n\n\0")
    fits.expect("CONNECTED")
    fits.parser.version = "1.2"
    put(fits, "/queue/a", bytes(100_000), padding="x" * 10_000)
    for end in (b"x\n\n\0", b"xxxx"):
        refused = connect(None, to=limited)
        refused.write(text.encode() + end)
        expect_error(refused.frame(), "The maximum header length was exceeded")
        refused.expect_closed()
    body = connect(None, to=limited)
    body.write(b"CONNECT\naccept-version:1.2\nhost:h\ncontent-length:401\n\n")
    expect_error(body.frame(), "The maximum data length was exceeded")
    body.expect_closed()


def test_strangers_name_few_headers(connect: Connect) -> None:
    """A hundred headers are enough for CONNECT."""
    for count, answer in ((98, "CONNECTED"), (99, "ERROR")):
        client = connect(None)
        extra = "".join(f"h{number}:x\n" for number in range(count))
        client.write(f"CONNECT\naccept-version:1.2\nhost:h\n{extra}\n\0".encode())
        assert client.expect(answer)


def test_selectors_and_names(connect: Connect, queue: str) -> None:
    """Selectors have 1,024 characters, names of destinations 255 bytes."""
    client = connect()
    text = "a = '" + "x" * 1018 + "'"
    subscribe(client, queue, id="1", selector=text)
    refused = client.ask("SUBSCRIBE", destination=queue, id="2", selector=text + " ")
    expect_error(refused, "elector")
    name = "/queue/" + "n" * 255
    put(client, name, b"x")
    expect_error(client.ask("SEND", destination=name + "n"), "longer than 255 bytes")
