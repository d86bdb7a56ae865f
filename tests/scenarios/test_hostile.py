"""Clients that mean no good, or break: what they cannot reach, leave behind or slow down."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)


@pytest.fixture(autouse=True)
def bystander(server: BrokerProcess) -> Iterator[Client]:
    """Everybody else: connected all the while, and still served after each test."""
    with server.connect() as client:
        yield client
        assert is_served(client)


# What belongs to others


@pytest.mark.parametrize("thief", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("owner", ["1.0", "1.1", "1.2"])
def test_acknowledging_what_another_holds(
    connect: Connect, queue: str, owner: str, thief: str
) -> None:
    """A message in another connection's hands can be neither acknowledged nor refused."""
    put(connect(), queue, b"mine")
    holder, stranger = connect(owner), connect(thief)
    subscribe(holder, queue, ack="client")
    subscribe(stranger, queue, ack="client")
    message = holder.expect("MESSAGE")
    named = {
        "message-id": message.headers["message-id"],
        "subscription": "s",
        "id": message.headers.get("ack", message.headers["message-id"]),
    }
    expect_error(stranger.ask("ACK", **named), "Unexpected ACK received for message-id [")
    answer = stranger.ask("NACK", **named)
    expect_error(answer, "v1.0 mode" if thief == "1.0" else "Unexpected NACK")
    accepted(stranger.ask("BEGIN", transaction="t"))
    expect_error(stranger.ask("ACK", transaction="t", **named), "Unexpected ACK")
    accepted(ack(holder, message))


def test_guessing_ack_ids(connect: Connect, queue: str) -> None:
    """The ids of 1.2 mean nothing on another connection, however well they are guessed."""
    put(connect(), queue, *[b"%d" % n for n in range(5)])
    holder, stranger = connect(), connect()
    subscribe(holder, queue, ack="client-individual")
    messages = take(holder, 5)
    subscribe(stranger, f"{queue}.other", ack="client-individual")
    for message in messages:
        expect_error(stranger.ask("ACK", id=message.headers["ack"]), "Unexpected ACK")
    holder.close()
    assert drain(connect(), queue) == [b"%d" % n for n in range(5)]


def test_ending_another_ones_subscription(connect: Connect, version: str, queue: str) -> None:
    """UNSUBSCRIBE reaches one's own subscriptions only."""
    victim, stranger = connect(version), connect(version)
    subscribe(victim, queue)
    expect_error(stranger.ask("UNSUBSCRIBE", id="s", destination=queue), "No subscription matched.")
    put(stranger, queue, b"x")
    assert victim.expect("MESSAGE").body == b"x"


def test_acknowledging_before_it_was_delivered(connect: Connect, queue: str) -> None:
    """An id that will be given later names nothing now."""
    put(connect(), queue, b"0", b"1", b"2")
    client = connect()
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    first = client.expect("MESSAGE")
    stem, _, number = first.headers["ack"].rpartition("-")
    expect_error(client.ask("ACK", id=f"{stem}-{int(number) + 1}"), "Unexpected ACK")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(), queue) == [b"0", b"1", b"2"]


def test_old_ack_ids_after_subscribing_again(connect: Connect, queue: str) -> None:
    """What an ended subscription was given cannot be acknowledged through its successor."""
    put(connect(), queue, b"x")
    client = connect()
    subscribe(client, queue, ack="client")
    old = client.expect("MESSAGE")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    subscribe(client, queue, ack="client")
    new = client.expect("MESSAGE")
    expect_error(ack(client, old), "Unexpected ACK")
    accepted(ack(client, new))


def test_forged_headers_in_the_body(connect: Connect, version: str, queue: str) -> None:
    """A body that looks like frames stays a body."""
    client = connect(version)
    subscribe(client, queue, ack="client")
    body = b"\n\nack:1-1\n\n\0\nMESSAGE\nsubscription:x\n\n\0"
    connect(version).send("SEND", body, destination=queue)
    message = client.expect("MESSAGE")
    assert message.body == body
    accepted(ack(client, message))


# Broken off


CUTS = [
    b"",
    b"SE",
    b"SEND",
    b"SEND\n",
    b"SEND\ndestination:",
    b"SEND\ndestination:%b\n",
    b"SEND\ndestination:%b\n\n",
    b"SEND\ndestination:%b\n\nhalf a bo",
    b"SEND\ndestination:%b\ncontent-length:100\n\nhalf a body",
    b"SEND\ndestination:%b\ncontent-length:100\n\n" + b"x" * 100,
    b"\n\n\n",
]


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
@pytest.mark.parametrize("cut", CUTS)
def test_cut_in_the_middle_of_a_frame(connect: Connect, queue: str, cut: bytes, end: str) -> None:
    """Half a frame does nothing, and what the client held goes back at once."""
    put(connect(), queue, b"held")
    client, other = connect(), connect()
    subscribe(client, queue, ack="client")
    client.expect("MESSAGE")
    client.write(cut.replace(b"%b", queue.encode()))
    if end == "half-close":
        client.socket.shutdown(socket.SHUT_WR)
        client.expect_closed()
    elif end == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    else:
        client.close()
    subscribe(other, queue)
    assert other.expect("MESSAGE", redelivered="true").body == b"held"
    assert other.silent()


@pytest.mark.parametrize("end", ["close", "half-close", "nonsense"])
def test_cut_in_the_middle_of_a_transaction(
    connect: Connect, version: str, queue: str, end: str
) -> None:
    """Nothing of a transaction without its COMMIT is done."""
    put(connect(version), queue, b"held")
    client, other = connect(version), connect(version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    client.send("BEGIN", transaction="t")
    client.send("SEND", b"never", destination=queue, transaction="t")
    client.send("ACK", **acknowledgement(client, message), transaction="t")
    client.write(b"COMMIT\ntransaction:t\n")
    if end == "half-close":
        client.socket.shutdown(socket.SHUT_WR)
        client.expect_closed()
    elif end == "nonsense":
        client.write(b"content-length:-1\n\n\0")
        expect_error(client.frame(), "content-length may not be negative")
        client.expect_closed()
    else:
        client.close()
    subscribe(other, queue)
    assert other.expect("MESSAGE", redelivered="true").body == b"held"
    assert other.silent()


def test_gone_in_the_middle_of_a_delivery(connect: Connect, queue: str) -> None:
    """A reader that dies while a large message is on its way to him gives it back whole."""
    body = b"x" * 8_000_000
    put(connect(), queue, body)
    client, other = connect(), connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send("SUBSCRIBE", destination=queue, id="s", ack="client")
    assert client.socket.recv(100)
    client.close()
    subscribe(other, queue)
    assert other.expect("MESSAGE", redelivered="true").body == body


def test_half_closed_subscriber(connect: Connect, version: str, queue: str) -> None:
    """Who can send no more ACKs is not kept as a consumer."""
    client, other = connect(version), connect(version)
    subscribe(client, queue, ack="client")
    client.socket.shutdown(socket.SHUT_WR)
    client.expect_closed()
    subscribe(other, queue, ack="client")
    put(connect(version), queue, b"x")
    assert other.expect("MESSAGE").body == b"x"


# Too much


def test_reader_that_reads_nothing(start_broker: StartBroker, connect: Connect) -> None:
    """Messages for one who does not read stay in the queue; memory is bounded, others are served."""
    broker = start_broker(unsent_bytes=200_000)
    deaf, sender = connect(to=broker), connect(to=broker)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.send("SUBSCRIBE", destination="/queue/a", id="s", ack="auto")
    assert is_served(sender)
    before = broker.memory()
    for _ in range(40):
        accepted(sender.ask("SEND", b"x" * 1_000_000, destination="/queue/a"))
    assert broker.memory() - before < 40_000_000
    other = connect(to=broker)
    subscribe(other, "/queue/a")
    take(other, 20)


def test_asking_without_reading_the_answers(start_broker: StartBroker, connect: Connect) -> None:
    """A flood of requests whose answers nobody reads is slowed down, not kept in memory."""
    broker = start_broker("memory:", unsent_bytes=100_000, stalled_bytes=1_000_000)
    client, other = connect(to=broker), connect(to=broker)
    before = broker.memory()
    flood = b"SEND\n\n\0" * 5_000_000  # each earns an ERROR that is thirty times as long
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.socket.sendall(flood)
    assert broker.memory() - before < 40_000_000
    assert is_served(other)
    client.socket.settimeout(DEADLINE)
    for _ in range(20_000):
        expect_error(client.frame(), "without a Destination")
    assert is_served(other)


def test_lf_flood(connect: Connect, server: BrokerProcess) -> None:
    """Megabytes of LFs and NULs are nothing."""
    client = connect()
    before = server.memory()
    for _ in range(20):
        client.write(b"\n" * 50_000 + b"\0\n" * 25_000)
    assert is_served(client)
    assert server.memory() - before < 5_000_000


def test_unfinished_frames_cost_no_more_than_their_bytes(
    connect: Connect, server: BrokerProcess
) -> None:
    """A promise of a hundred megabytes reserves nothing; an endless header ends at its limit."""
    before = server.memory()
    promising = [connect() for _ in range(20)]
    for client in promising:
        client.write(b"SEND\ndestination:/queue/a\ncontent-length:100000000\n\nstart")
    endless = connect()
    endless.write(b"SEND\n" + b"a:b\n" * 100_000)
    expect_error(endless.frame(), "The maximum")
    endless.expect_closed()
    assert is_served(connect())
    assert server.memory() - before < 10_000_000


def test_many_strangers(connect: Connect, server: BrokerProcess, bystander: Client) -> None:
    """Three hundred who send one octet and wait do not keep others from being served."""
    strangers = [connect(None) for _ in range(300)]
    for stranger in strangers:
        stranger.write(b"C")
    assert is_served(bystander)
    assert is_served(connect())
    for stranger in strangers:
        stranger.write(b"ONNECT\naccept-version:1.2\nhost:h\n\n\0")
    for stranger in strangers:
        stranger.expect("CONNECTED")


def test_many_transactions_and_subscriptions(connect: Connect, queue: str) -> None:
    """Dozens of open transactions and subscriptions on one link, abandoned, leave nothing."""
    client = connect()
    for number in range(90):
        client.send("BEGIN", transaction=str(number))
        client.send("SEND", b"x", destination=queue, transaction=str(number))
        client.send("SUBSCRIBE", destination=f"{queue}.{number}", id=str(number), ack="client")
    assert is_served(client)
    client.close()
    put(connect(), f"{queue}.0", b"y")
    assert drain(connect(), f"{queue}.0") == [b"y"]
    assert drain(connect(), queue) == []


def test_odd_but_legal(connect: Connect, queue: str) -> None:
    """Names that some program might take for more than names are only names."""
    client = connect()
    for name in ("../../etc/passwd", "%s%n", "'; DROP TABLE record; --", "\x01\x7f", "__class__"):
        destination = f"{queue}/{name}"
        put(connect(), destination, name.encode(), **{name.replace(":", ""): name})
        subscribe(client, destination, id=name)
        assert client.expect("MESSAGE", destination=destination).body == name.encode()


def test_nack_storm(connect: Connect, queue: str) -> None:
    """A consumer that refuses everything empties the queue into the dead letters, no more."""
    drain(connect(), "/queue/ActiveMQ.DLQ")
    put(connect(), queue, *[b"%d" % n for n in range(100)])
    client = connect()
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "10"})
    for _ in range(100):
        client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")))
    assert client.silent()
    letters = drain(connect(), "/queue/ActiveMQ.DLQ")
    assert letters == [b"%d" % n for n in range(100)]


def test_everything_before_connect_in_one_packet(connect: Connect, queue: str) -> None:
    """A stranger's whole programme in one write is refused at its first frame."""
    put(connect(), queue, b"secret")
    stranger = connect(None)
    frames = [
        Frame("SUBSCRIBE", {"destination": queue, "id": "s"}),
        Frame("CONNECT", {"accept-version": "1.2", "host": "h"}),
        Frame("SEND", {"destination": queue}, b"smuggled"),
    ]
    stranger.write(b"".join(frame.encode("1.0") for frame in frames))
    expect_error(stranger.frame(), "unexpected frame before CONNECT or STOMP frame: SUBSCRIBE")
    stranger.expect_closed()
    assert b"secret" not in stranger.received
    assert drain(connect(), queue) == [b"secret"]


def test_refusing_what_was_acknowledged(connect: Connect, later_version: str, queue: str) -> None:
    """Once acknowledged a message cannot be made a dead letter, nor given back."""
    put(connect(), queue, b"x")
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    accepted(ack(client, message))
    for requeue in ("true", "false"):
        expect_error(nack(client, message, requeue=requeue), "Unexpected NACK")
    assert client.silent()
