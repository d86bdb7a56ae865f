"""What a MESSAGE says: the sender's headers as they came, the broker's own where they belong."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from broker.stomp import Frame
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    acknowledgement,
    put,
    subscribe,
    take,
)

OURS = ("subscription", "destination", "ack", "message-id", "timestamp")
ODD = "a:b\\c größe"


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker that says who has sent a message."""
    directory = tmp_path_factory.mktemp("naming")
    process = BrokerProcess("memory:", directory, {"populate_user_id": True})
    yield process
    process.kill()


def send(client: Client, headers: dict[str, str], body: bytes = b"x") -> None:
    """Send a message with headers as they are written, in their order, and wait until it is taken."""
    client.write(Frame("SEND", {**headers, "receipt": "sent"}, body).encode(client.version))
    client.expect("RECEIPT", receipt_id="sent")


def users(message: Frame) -> list[tuple[str, str]]:
    """Return the headers that are not the broker's, in the order in which they came."""
    return [item for item in message.headers.items() if item[0] not in (*OURS, "content-length")]


# When it was sent.


def test_the_senders_timestamp_is_honoured(connect: Connect, version: str, queue: str) -> None:
    """At its place; whatever it says, for it is the sender's."""
    client = connect(version)
    subscribe(client, queue)
    for timestamp in ("1234567890123", "yesterday", ""):
        send(connect(version), {"destination": queue, "a": "1", "timestamp": timestamp, "b": "2"})
        message = client.expect("MESSAGE", timestamp=timestamp)
        assert [name for name in message.headers if name in ("a", "timestamp", "b")] == [
            "a",
            "timestamp",
            "b",
        ]


@pytest.mark.parametrize("uncommon", [{}, {"priority": "5"}, {"transaction": "t"}])
def test_else_it_is_when_the_broker_got_it(
    connect: Connect, queue: str, uncommon: dict[str, str]
) -> None:
    """In milliseconds; not when it was delivered or committed."""
    sender, client = connect(), connect()
    if "transaction" in uncommon:
        accepted(sender.ask("BEGIN", transaction="t"))
    before = int(time.time() * 1000)
    send(sender, {"destination": queue, **uncommon})
    after = int(time.time() * 1000)
    if "transaction" in uncommon:
        accepted(sender.ask("COMMIT", transaction="t"))
    subscribe(client, queue)
    assert before <= int(client.expect("MESSAGE").headers["timestamp"]) <= after


# Who sent it.


@pytest.mark.parametrize("uncommon", [{}, {"priority": "5"}, {"expires": "9999999999999"}])
def test_nobody_says_who_sent_it_unless_the_operator_wants_that(
    connect: Connect, version: str, queue: str, uncommon: dict[str, str]
) -> None:
    """And what a sender writes there itself is never passed on."""
    client = connect(version)
    subscribe(client, queue)
    send(connect(version, login="me"), {"destination": queue, "JMSXUserID": "root", **uncommon})
    assert "JMSXUserID" not in client.expect("MESSAGE").headers


@pytest.mark.parametrize("login", ["guest", ODD])
@pytest.mark.parametrize("uncommon", [{}, {"priority": "5"}, {"transaction": "t"}])
def test_the_broker_says_who_sent_it(
    naming: BrokerProcess,
    connect: Connect,
    version: str,
    queue: str,
    login: str,
    uncommon: dict[str, str],
) -> None:
    """Nobody can claim to be another; whoever has no login is nobody. To every reader's version."""
    readers = [connect(each, to=naming) for each in ("1.0", "1.1", "1.2")]
    for reader in readers:
        subscribe(reader, queue.replace("/queue/", "/topic/"))
    named, nameless = connect(version, to=naming, login=login), connect(version, to=naming)
    for sender in (named, nameless):
        accepted(sender.ask("BEGIN", transaction="t"))
        for forged in ({}, {"JMSXUserID": "root"}):
            headers = {"destination": queue.replace("/queue/", "/topic/"), **forged, **uncommon}
            send(sender, headers)
        accepted(sender.ask("COMMIT", transaction="t"))
    for reader in readers:
        said = [message.headers.get("JMSXUserID") for message in take(reader, 4)]
        assert said == [login, login, None, None]


def test_it_is_said_also_to_those_who_repeat_themselves(
    naming: BrokerProcess, connect: Connect, queue: str
) -> None:
    """A forged name is not learned by heart."""
    client, sender = connect(to=naming), connect(to=naming, login="me")
    subscribe(client, queue)
    for number in range(60):
        send(
            sender,
            {
                "destination": queue,
                "correlation-id": str(number),
                "JMSXUserID": f"forged {number % 3}",
                "content-length": "1",
            },
        )
        message = client.expect("MESSAGE")
        assert users(message) == [("correlation-id", str(number)), ("JMSXUserID", "me")]


# What passes through.


@pytest.mark.parametrize(
    "header",
    [
        ("transformation", "jms-map-json"),
        ("amq-msg-type", "text"),
        ("amq-msg-type", "bytes"),
        ("type", "t"),
        ("correlation-id", "c"),
        ("reply-to", "/queue/replies"),
        ("persistent", "true"),
        ("persistent", "false"),
        ("priority", "7"),
        ("priority", "70"),
        ("ttl", "0"),
        ("JMSXGroupID", "g"),
        ("JMSXGroupSeq", "2"),
        ("dedup-id", "1"),
        ("ActiveMQ.Retain", "true"),
        ("original-destination", "/queue/elsewhere"),
        ("dlqDeliveryFailureCause", "bad luck"),
        ("scheduledJobId", "j"),
        ("content-type", "text/plain;charset=utf-8"),
    ],
)
def test_it_comes_as_it_was_written(
    connect: Connect, version: str, queue: str, header: tuple[str, str]
) -> None:
    """Also what the broker has understood, and what it would have written itself."""
    name, value = header
    client = connect(version)
    subscribe(client, queue)
    value = f"{value} {queue}" if name == "dedup-id" else value
    send(connect(version), {"destination": queue, name: value})
    assert (name, value) in users(client.expect("MESSAGE"))


def test_a_transformed_body_is_not_touched(connect: Connect, version: str, queue: str) -> None:
    """`transformation` is a word between sender and reader; on SUBSCRIBE too it changes nothing."""
    body = b'{"map":{"entry":[{"string":["name","Dejan"]}]}}'
    client = connect(version)
    subscribe(client, queue, transformation="jms-map-xml")
    send(connect(version), {"destination": queue, "transformation": "jms-map-json"}, body)
    message = client.expect("MESSAGE", transformation="jms-map-json")
    assert message.body == body
    assert "transformation-error" not in message.headers


@pytest.mark.parametrize("uncommon", [[], [("priority", "5")], [("ttl", "100000")]])
@pytest.mark.parametrize("reply_to", ["/queue/replies", "/temp-queue/replies"])
def test_the_order_of_headers_is_the_senders(
    connect: Connect,
    version: str,
    queue: str,
    uncommon: list[tuple[str, str]],
    reply_to: str,
) -> None:
    """What the broker changes stays at its place, what it adds comes last."""
    client, sender = connect(version), connect(version)
    subscribe(client, queue)
    for number in range(40):
        headers = [("z", "1"), ("reply-to", reply_to), *uncommon, ("b", str(number)), ("a", "3")]
        send(sender, {"destination": queue, **dict(headers), "content-length": "1"})
        message = client.expect("MESSAGE")
        names = [name for name, _ in users(message)]
        added = ["expires"] if uncommon and uncommon[0][0] == "ttl" else []
        assert names == [name for name, _ in headers] + added


# How often it came.


def test_the_count_of_deliveries_is_said_when_it_is_more_than_one(
    connect: Connect, later_version: str, queue: str
) -> None:
    """A sender cannot forge it, nor that it was delivered before."""
    client = connect(later_version)
    subscribe(client, queue, ack="client-individual")
    forged = {"JMSXDeliveryCount": "9", "redelivered": "true"}
    send(connect(), {"destination": queue, **forged, "priority": "5"})
    put(connect(), queue, b"2")
    first, second = take(client, 2)
    for message in (first, second):
        assert message.headers.keys().isdisjoint(forged)
    for number in (2, 3):
        client.send("NACK", **acknowledgement(client, first), requeue="true")
        first = client.expect("MESSAGE", redelivered="true", JMSXDeliveryCount=str(number))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    subscribe(client, queue, ack="client-individual")
    first, second = take(client, 2)
    assert first.headers["JMSXDeliveryCount"] == "3"
    assert second.headers["redelivered"] == "true"
    assert "JMSXDeliveryCount" not in second.headers
