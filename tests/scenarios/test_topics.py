"""Topics: a copy for everybody who is there."""

from __future__ import annotations

import pytest

from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, ack, acknowledgement, bodies, nack, put, subscribe, take


def test_everybody_gets_a_copy(connect: Connect, version: str, topic: str) -> None:
    """All subscribers get every message, in order, whatever version they speak."""
    clients = [connect(each) for each in ("1.0", "1.1", "1.2", version)]
    for client in clients:
        subscribe(client, topic)
    put(connect(version), topic, b"1", b"2", b"3", color="red")
    for client in clients:
        messages = take(client, 3)
        assert bodies(messages) == [b"1", b"2", b"3"]
        assert all(message.headers["color"] == "red" for message in messages)
        assert client.silent()


def test_who_was_not_there_gets_nothing(connect: Connect, version: str, topic: str) -> None:
    """A topic keeps nothing: not before SUBSCRIBE, not after UNSUBSCRIBE."""
    sender, client = connect(version), connect(version)
    put(sender, topic, b"before")
    subscribe(client, topic)
    put(sender, topic, b"during")
    assert client.expect("MESSAGE").body == b"during"
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(sender, topic, b"after")
    assert client.silent()
    subscribe(client, topic)
    put(sender, topic, b"again")
    assert client.expect("MESSAGE").body == b"again"


def test_two_subscriptions_of_one_connection(connect: Connect, version: str, topic: str) -> None:
    """Each gets a copy of its own."""
    client = connect(version)
    subscribe(client, topic, id="a")
    subscribe(client, topic, id="b")
    put(connect(version), topic, b"x")
    assert {m.headers["subscription"] for m in take(client, 2)} == {"a", "b"}


def test_own_messages_come_back(connect: Connect, version: str, topic: str) -> None:
    """Who sends to a topic he subscribed to hears himself."""
    client = connect(version)
    subscribe(client, topic)
    client.send("SEND", b"echo", destination=topic)
    assert client.expect("MESSAGE").body == b"echo"


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_acknowledging(connect: Connect, version: str, topic: str, mode: str) -> None:
    """One subscriber's acknowledgements are no business of another's."""
    first, second = connect(version), connect(version)
    for client in (first, second):
        subscribe(client, topic, ack=mode, **{"activemq.prefetchSize": "2"})
    put(connect(version), topic, b"1", b"2", b"3", b"4")
    for client in (first, second):
        messages = take(client, 2)
        assert client.silent()
        for message in messages:
            client.send("ACK", **acknowledgement(client, message))
        assert bodies(take(client, 2)) == [b"3", b"4"]


def test_unacknowledged_copies_die_with_their_subscriber(
    connect: Connect, version: str, topic: str
) -> None:
    """A subscriber that leaves takes his copies along; nobody else gets them."""
    leaving, staying = connect(version), connect(version)
    subscribe(leaving, topic, ack="client")
    subscribe(staying, topic, ack="client")
    put(connect(version), topic, b"x")
    leaving.expect("MESSAGE")
    message = staying.expect("MESSAGE")
    accepted(leaving.ask("DISCONNECT"))
    assert staying.silent()
    accepted(ack(staying, message))


def test_nack_on_a_topic(connect: Connect, later_version: str, topic: str) -> None:
    """A refused copy is gone, or comes again if that is asked; the others keep theirs as it was."""
    refusing, other = connect(later_version), connect(later_version)
    subscribe(refusing, topic, ack="client-individual")
    subscribe(other, topic, ack="client-individual")
    put(connect(), topic, b"x")
    message = refusing.expect("MESSAGE")
    refusing.send("NACK", **acknowledgement(refusing, message), requeue="true")
    again = refusing.expect("MESSAGE", redelivered="true")
    accepted(nack(refusing, again))
    assert "redelivered" not in other.expect("MESSAGE").headers
    assert other.silent()


def test_transactions(connect: Connect, version: str, topic: str) -> None:
    """Messages of a transaction reach subscribers at COMMIT."""
    client, sender = connect(version), connect(version)
    subscribe(client, topic)
    accepted(sender.ask("BEGIN", transaction="t"))
    put(sender, topic, b"1", b"2", transaction="t")
    assert client.silent()
    accepted(sender.ask("COMMIT", transaction="t"))
    assert bodies(take(client, 2)) == [b"1", b"2"]


def test_a_slow_subscriber_holds_up_nobody(connect: Connect, topic: str) -> None:
    """One that acknowledges nothing, or reads nothing, does not keep messages from the others."""
    deaf, slow, quick = connect(), connect(), connect()
    subscribe(deaf, topic)
    subscribe(slow, topic, ack="client", **{"activemq.prefetchSize": "1"})
    subscribe(quick, topic)
    sender = connect()
    body = b"x" * 10_000
    for _ in range(10):
        sender.write(b"SEND\ndestination:%b\n\n%b\0" % (topic.encode(), body) * 100)
        for message in take(quick, 100):
            assert message.body == body
    slow.expect("MESSAGE")
    assert slow.silent()
    take(deaf, 1000)


def test_priorities_among_what_waits(connect: Connect, version: str, topic: str) -> None:
    """What waits for a subscriber is handed to him by priority."""
    client = connect(version)
    subscribe(client, topic, ack="client-individual", **{"activemq.prefetchSize": "1"})
    sender = connect(version)
    for body, priority in ((b"first", "4"), (b"low", "1"), (b"high", "9"), (b"mid", "4")):
        put(sender, topic, body, priority=priority)
    found = []
    for _ in range(4):
        message = client.expect("MESSAGE")
        found.append(message.body)
        client.send("ACK", **acknowledgement(client, message))
    assert found == [b"first", b"high", b"mid", b"low"]
