"""Sending: what of a SEND its readers see, where it goes, what is refused."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    bodies,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)

OURS = {"subscription", "destination", "message-id", "timestamp", "content-length"}


def test_headers_pass_unchanged_and_in_order(connect: Connect, version: str, queue: str) -> None:
    """A sender's own headers reach the reader as they are, in the order in which they were written."""
    client = connect(version)
    subscribe(client, queue)
    users = {
        "zebra": "1",
        "content-type": "application/json;charset=utf-16",
        "correlation-id": "c-1",
        "reply-to": "/queue/answers",
        "alpha": 'with = and , and ; and "quotes"',
        "JMSType": "order",
        "amq-msg-type": "text",
        "persistent": "true",
        "type": "",
        "priority": "4",
        "expires": "0",
    }
    client.send("SEND", b"{}", destination=queue, **users)
    message = client.expect("MESSAGE", content_length="2")
    mine = [(name, value) for name, value in message.headers.items() if name not in OURS]
    assert mine == list(users.items())


def test_reserved_headers_are_not_forwarded(connect: Connect, version: str, queue: str) -> None:
    """A sender cannot forge what only the broker writes, nor leak what was meant for it alone."""
    client = connect(version)
    subscribe(client, queue, ack="client")
    forged = {
        "message_id": "mine",
        "subscription": "other",
        "ack": "1-1",
        "redelivered": "true",
        "JMSXUserID": "admin",
        "receipt": "r",
    }
    connect(version).send("SEND", b"x", destination=queue, **forged)
    message = client.expect("MESSAGE", subscription="s")
    assert message.headers["message-id"] != "mine"
    for forgery in (b"mine", b"other", b"admin"):
        assert forgery not in client.received
    for ours in (b"message-id", b"subscription", b"destination", b"content-length"):
        assert client.received.count(b"\n" + ours + b":") == 1
    assert message.headers.get("ack") != "1-1" or version == "1.2"
    for name in ("redelivered", "JMSXUserID", "receipt", "transaction"):
        assert name not in message.headers
    named = {"message-id": "mine", "subscription": "s", "id": "1-99"}
    expect_error(client.ask("ACK", **named), "Unexpected ACK received for message-id")


def test_message_ids_are_unique(connect: Connect, version: str, queue: str) -> None:
    """No two messages share an id, whichever connection they came from."""
    for _ in range(3):
        put(connect(version), queue, b"a", b"b")
    client = connect(version)
    subscribe(client, queue)
    ids = [message.headers["message-id"] for message in take(client, 6)]
    assert len(set(ids)) == 6


@pytest.mark.parametrize("wanted", ["true", "false", None])
def test_persistent_is_echoed_only_if_it_was_written(
    connect: Connect, queue: str, wanted: str | None
) -> None:
    """`persistent` comes back as the sender wrote it, and not at all if he did not."""
    client = connect()
    subscribe(client, queue)
    client.send("SEND", destination=queue, **({} if wanted is None else {"persistent": wanted}))
    assert client.expect("MESSAGE").headers.get("persistent") == wanted


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "x/y; a=b"])
def test_content_type_passes_verbatim(
    connect: Connect, version: str, queue: str, content_type: str
) -> None:
    """The broker neither reads nor changes it, and invents none."""
    client = connect(version)
    subscribe(client, queue)
    client.send("SEND", b"x", destination=queue, content_type=content_type)
    client.expect("MESSAGE", content_type=content_type)
    client.send("SEND", b"x", destination=queue)
    assert "content-type" not in client.expect("MESSAGE").headers


@pytest.mark.parametrize("size", [1, 1000, 65_536, 1_000_000, 16_000_000])
def test_bodies_of_every_size(connect: Connect, queue: str, size: int) -> None:
    """What was sent is what arrives, to the last octet."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    put(connect(), queue, body)
    client = connect()
    subscribe(client, queue)
    assert client.expect("MESSAGE", content_length=str(size)).body == body


def test_send_without_destination(connect: Connect, version: str) -> None:
    """It is refused in ActiveMQ's words, and the connection goes on."""
    client = connect(version)
    answer = client.ask("SEND", b"x")
    expect_error(answer, "SEND received without a Destination specified!")
    assert is_served(client)


@pytest.mark.parametrize("destination", ["", "  ", "/queue/", "/topic/"])
def test_send_to_an_empty_name(connect: Connect, version: str, destination: str) -> None:
    """A name must have at least one character."""
    client = connect(version)
    answer = client.ask("SEND", b"x", destination=destination)
    expect_error(answer, "Destination")
    assert is_served(client)


def test_name_without_a_prefix_is_a_queue(connect: Connect, version: str, queue: str) -> None:
    """`foo` and `/queue/foo` are the same queue; the reader sees the name he subscribed to."""
    name = queue.removeprefix("/queue/")
    plain, full = connect(version), connect(version)
    subscribe(plain, name)
    put(full, queue, b"1")
    plain.expect("MESSAGE", destination=name)
    accepted(plain.ask("UNSUBSCRIBE", id="s"))
    subscribe(full, queue)
    put(plain, name, b"2")
    full.expect("MESSAGE", destination=queue)


@pytest.mark.parametrize(
    "name", ["a/b/c", "test/ruby/stomp", "a.b.c", "A b", "x>y", "ä", "%2F", "a::b"]
)
def test_names_are_taken_literally(connect: Connect, version: str, queue: str, name: str) -> None:
    """Slashes, dots, blanks and case are part of the name."""
    client = connect(version)
    subscribe(client, f"{queue}/{name}")
    put(connect(version), f"{queue}/{name.upper()}!", b"other")
    put(connect(version), f"{queue}/{name}", b"this")
    assert client.expect("MESSAGE", destination=f"{queue}/{name}").body == b"this"


def test_blanks_around_a_destination_do_not_count(connect: Connect, queue: str) -> None:
    """As in ActiveMQ a destination is trimmed in every version; the reader gets it as he wrote it."""
    client = connect("1.2")
    subscribe(client, f" {queue} ")
    put(connect("1.2"), f"{queue} ", b"x")
    client.expect("MESSAGE", destination=f" {queue} ")


def test_queue_and_topic_of_one_name_are_two(connect: Connect, queue: str) -> None:
    """`/queue/x` and `/topic/x` have nothing to do with each other."""
    topic = queue.replace("/queue/", "/topic/")
    client = connect()
    subscribe(client, queue, id="q")
    subscribe(client, topic, id="t")
    put(connect(), topic, b"to the topic")
    put(connect(), queue, b"to the queue")
    assert client.expect("MESSAGE", subscription="t").body == b"to the topic"
    assert client.expect("MESSAGE", subscription="q").body == b"to the queue"
    assert client.silent()


def test_queue_keeps_what_is_sent_before_anybody_reads(
    connect: Connect, version: str, queue: str
) -> None:
    """A queue is made by the first SEND and keeps messages in order until somebody comes."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    subscribe(client, queue)
    assert bodies(take(client, 3)) == [b"1", b"2", b"3"]


def test_writers_without_receipts_are_heard_to_the_end(connect: Connect, queue: str) -> None:
    """syslog-ng hangs up without DISCONNECT: everything it wrote is taken."""
    sender = connect("1.0")
    sender.write(
        b"".join(b"SEND\ndestination:%b\n\n%d\0" % (queue.encode(), n) for n in range(2000))
    )
    sender.close()
    client = connect()
    subscribe(client, queue)
    assert [int(message.body) for message in take(client, 2000)] == list(range(2000))


def test_full_memory_is_an_error_for_messages_that_are_not_persistent(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    """What waits in memory only is limited; writers are told, readers make room again."""
    broker = start_broker(memory_limit=100_000)
    sender, client = connect(to=broker), connect(to=broker)
    for _ in range(9):
        accepted(sender.ask("SEND", b"x" * 10_000, destination=queue, persistent="false"))
    answer = sender.ask("SEND", b"x" * 20_000, destination=queue, persistent="false")
    expect_error(answer, "memory for messages that are not stored is full")
    subscribe(client, queue)
    take(client, 9)
    accepted(sender.ask("SEND", b"x" * 20_000, destination=queue, persistent="false"))


def test_full_store_is_an_error_for_durable_messages(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    """When the disk's share is used up, SEND is refused and consumers can still empty the queue."""
    broker = start_broker(map_size=4 * 1024 * 1024)
    sender, client = connect(to=broker), connect(to=broker)
    stored = fill(sender, queue)
    assert stored > 10
    accepted(sender.ask("SEND", b"small", destination="/topic/not.stored"))
    subscribe(client, queue, ack="client-individual")
    for message in take(client, stored):
        accepted(client.ask("ACK", id=message.headers["ack"]))
    accepted(sender.ask("SEND", b"x" * 50_000, destination=queue))


def fill(sender: Client, queue: str) -> int:
    """Send until the broker refuses; return how many messages it took."""
    for number in range(1000):
        answer = sender.ask("SEND", b"x" * 50_000, destination=queue)
        if answer.command == "ERROR":
            expect_error(answer, "The store is full")
            return number
    raise AssertionError("the store is never full")


def test_reading_and_writing_on_one_connection(
    server: BrokerProcess, connect: Connect, version: str, queue: str
) -> None:
    """A client may be its own reader; the RECEIPT and the MESSAGE both arrive."""
    client = connect(version)
    subscribe(client, queue)
    client.send("SEND", b"x", destination=queue, receipt="r")
    assert {client.frame().command, client.frame().command} == {"MESSAGE", "RECEIPT"}
    assert server.process.poll() is None


def test_options_behind_a_name_are_no_part_of_it(connect: Connect, queue: str) -> None:
    """ActiveMQ's clients write `queue?consumer.prefetchSize=1`: it is the queue of that name."""
    client = connect()
    subscribe(client, f"{queue}?consumer.prefetchSize=1")
    put(connect(), queue, b"plain")
    put(connect(), f"{queue}?producer.any=1", b"with options")
    assert bodies(take(client, 2)) == [b"plain", b"with options"]
