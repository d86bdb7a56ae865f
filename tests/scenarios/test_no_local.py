"""A subscriber of a topic that does not want what its own connection sends."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, bodies, is_served, put, subscribe, take

NO_LOCAL = {"activemq.noLocal": "true"}


@pytest.mark.parametrize("header", ["activemq.noLocal", "no-local"])
def test_its_own_messages_do_not_come_back(
    connect: Connect, version: str, topic: str, header: str
) -> None:
    """Those of others do, and others get its own."""
    one, other = connect(version), connect(version)
    for client in (one, other):
        subscribe(client, topic, **{header: "true"})
    for client, got, body in ((one, other, b"1"), (other, one, b"2"), (one, other, b"3")):
        put(client, topic, body)
        assert got.expect("MESSAGE").body == body
    assert is_served(one)
    assert is_served(other)


def test_another_subscription_of_the_connection_gets_them(connect: Connect, topic: str) -> None:
    client = connect()
    subscribe(client, topic, id="deaf", **NO_LOCAL)
    subscribe(client, topic, id="all")
    for _ in range(2):
        client.send("SEND", b"x", destination=topic)
        client.expect("MESSAGE", subscription="all")
    assert is_served(client)


def test_a_sender_that_is_known_is_not_remembered_wrongly(connect: Connect, topic: str) -> None:
    """What its frames mean is remembered; a subscription that comes or goes changes it."""
    client = connect()
    subscribe(client, topic, id="all")

    def send(times: int, got: int) -> None:
        for _ in range(times):
            client.send("SEND", b"x", destination=topic, content_length="1")
        assert len(take(client, got)) == got
        assert is_served(client)

    send(40, 40)
    subscribe(client, topic, id="deaf", **NO_LOCAL)
    send(40, 40)
    accepted(client.ask("UNSUBSCRIBE", id="all"))
    send(40, 0)
    accepted(client.ask("UNSUBSCRIBE", id="deaf"))
    subscribe(client, topic, id="all")
    send(40, 40)


def test_through_wildcards_and_lists(connect: Connect, topic: str) -> None:
    """However it subscribes, and however it sends; also to topics that are made later."""
    client, other = connect(), connect()
    subscribe(client, f"{topic}.a,{topic}.*.b,/queue/scenario.unused", **NO_LOCAL)
    for count, destination in (
        (1, f"{topic}.a"),
        (1, f"{topic}.x.b"),
        (2, f"{topic}.a,{topic}.y.b"),
    ):
        put(client, destination, b"mine")
        put(other, destination, b"theirs")
        assert bodies(take(client, count)) == [b"theirs"] * count
    assert is_served(client)


def test_in_a_transaction(connect: Connect, topic: str) -> None:
    client = connect()
    subscribe(client, topic, **NO_LOCAL)
    client.send("BEGIN", transaction="t")
    accepted(client.ask("SEND", b"x", destination=topic, transaction="t"))
    accepted(client.ask("COMMIT", transaction="t"))
    assert is_served(client)


def test_with_a_selector(connect: Connect, topic: str) -> None:
    client, other = connect(), connect()
    subscribe(client, topic, selector="size > 3", **NO_LOCAL)
    for sender in (client, other):
        for size in ("2", "4"):
            put(sender, topic, size.encode(), size=size)
    assert client.expect("MESSAGE").body == b"4"
    assert is_served(client)


def test_a_composite_does_not_hide_the_sender(start_broker: StartBroker, connect: Connect) -> None:
    broker = start_broker("memory:", **{'composite."/queue/all".forward_to': ["/topic/a"]})
    client = connect(to=broker)
    subscribe(client, "/topic/a", **NO_LOCAL)
    put(client, "/queue/all", b"x")
    assert is_served(client)


def test_it_says_nothing_of_queues(connect: Connect, queue: str) -> None:
    """Somebody must take what is in a queue; ActiveMQ lets it wait for another consumer."""
    client = connect()
    subscribe(client, queue, **NO_LOCAL)
    client.send("SEND", b"x", destination=queue)
    assert client.expect("MESSAGE").body == b"x"


def test_a_temporary_topic_has_it_too(connect: Connect) -> None:
    client = connect()
    subscribe(client, "/temp-topic/own", **NO_LOCAL)
    put(client, "/temp-topic/own", b"x")
    assert is_served(client)


def test_what_was_retained_comes_whoever_sent_it(connect: Connect, topic: str) -> None:
    """Who sent it is not remembered."""
    client = connect()
    put(client, topic, b"x", **{"ActiveMQ.Retain": "true"})
    subscribe(client, topic, **NO_LOCAL)
    assert client.expect("MESSAGE").body == b"x"
