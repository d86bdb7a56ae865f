"""Virtual topics: who subscribes to a queue `Consumer.NAME.VirtualTopic.X` shares the topic with the other NAMEs."""

from __future__ import annotations

from itertools import count

import pytest

from tests.conftest import StartBroker
from tests.durability.house import Client as InHouse
from tests.durability.house import House
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

_numbers = count(1)


@pytest.fixture
def name() -> str:
    """Return the name of a virtual topic that nobody else uses."""
    return f"VirtualTopic.scenario{next(_numbers)}"


def queue_of(consumer: str, name: str) -> str:
    return f"/queue/Consumer.{consumer}.{name}"


def test_every_consumer_group_gets_every_message(connect: Connect, version: str, name: str) -> None:
    """Within a group each goes to one; a plain subscriber gets all."""
    a1, a2, b, plain, sender = (connect(version) for _ in range(5))
    for client in (a1, a2):
        subscribe(client, queue_of("a", name))
    subscribe(b, queue_of("b", name))
    subscribe(plain, f"/topic/{name}")
    everything = [b"%d" % number for number in range(4)]
    put(sender, f"/topic/{name}", *everything)
    assert bodies(take(b, 4)) == bodies(take(plain, 4)) == everything
    assert sorted(bodies(take(a1, 2)) + bodies(take(a2, 2))) == everything


def test_a_message_says_where_it_was_sent(connect: Connect, version: str, name: str) -> None:
    """And which queue it came from; to a plain subscriber it is as any other."""
    client = connect(version)
    subscribe(client, queue_of("a", name), id="a")
    subscribe(client, f"/topic/{name}", id="t")
    client.send("SEND", b"x", destination=f"/topic/{name}", mark="1")
    got = {message.headers["subscription"]: message for message in take(client, 2)}
    assert got["a"].headers["destination"] == queue_of("a", name)
    assert got["a"].headers["original-destination"] == f"/topic/{name}"
    assert got["a"].headers["mark"] == "1"
    assert got["t"].headers["destination"] == f"/topic/{name}"
    assert "original-destination" not in got["t"].headers


def test_what_comes_while_nobody_is_there_waits(connect: Connect, name: str) -> None:
    """From the first SUBSCRIBE of the group on; not what came before it."""
    client = connect()
    put(client, f"/topic/{name}", b"too early")
    subscribe(client, queue_of("a", name))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(client, f"/topic/{name}", b"1", b"2")
    subscribe(client, queue_of("a", name))
    assert bodies(take(client, 2)) == [b"1", b"2"]


def test_the_queues_of_groups_survive_a_restart_while_they_are_empty(
    start_broker: StartBroker, connect: Connect, name: str
) -> None:
    """Also a power cut: the RECEIPT of the first SUBSCRIBE stands for it."""
    broker = start_broker()
    client = connect(to=broker)
    for consumer in ("a", "b"):
        subscribe(client, queue_of(consumer, name), id=consumer)
    broker.kill()
    broker = start_broker()
    put(connect(to=broker), f"/topic/{name}", b"x")
    broker.stop()
    client = connect(to=start_broker())
    for consumer in ("a", "b"):
        assert drain(client, queue_of(consumer, name)) == [b"x"]


def test_messages_are_stored_for_each_group(
    start_broker: StartBroker, connect: Connect, name: str
) -> None:
    """Before the RECEIPT; unless their sender does not want it."""
    broker = start_broker()
    client = connect(to=broker)
    for consumer in ("a", "b"):
        subscribe(client, queue_of(consumer, name), id=consumer, ack="client")
    sender = connect(to=broker)
    put(sender, f"/topic/{name}", b"kept")
    put(sender, f"/topic/{name}", b"lost", persistent="false")
    broker.kill()
    client = connect(to=start_broker())
    for consumer in ("a", "b"):
        assert drain(client, queue_of(consumer, name)) == [b"kept"]


def test_a_transaction_reaches_all_groups_or_none(connect: Connect, name: str) -> None:
    client, sender = connect(), connect()
    for consumer in ("a", "b"):
        subscribe(client, queue_of(consumer, name), id=consumer)
    for how, got in (("ABORT", 0), ("COMMIT", 2)):
        sender.send("BEGIN", transaction="t")
        accepted(sender.ask("SEND", b"x", destination=f"/topic/{name}", transaction="t"))
        accepted(sender.ask(how, transaction="t"))
        assert len(take(client, got)) == got
        assert is_served(client)


def test_a_group_that_comes_during_a_transaction(connect: Connect, name: str) -> None:
    """It gets what is committed later, and a group that all have left loses nothing."""
    client, sender = connect(), connect()
    sender.send("BEGIN", transaction="t")
    accepted(sender.ask("SEND", b"x", destination=f"/topic/{name}", transaction="t"))
    subscribe(client, queue_of("a", name))
    accepted(sender.ask("COMMIT", transaction="t"))
    assert client.expect("MESSAGE").body == b"x"


def test_a_selector_on_the_groups_queue(connect: Connect, name: str) -> None:
    """What it does not match stays for other consumers of the group."""
    client = connect()
    subscribe(client, queue_of("a", name), selector="size > 3")
    subscribe(client, queue_of("b", name), id="b")
    accepted(client.ask("UNSUBSCRIBE", id="b"))
    for size in ("2", "4"):
        client.send("SEND", size.encode(), destination=f"/topic/{name}", size=size)
    assert client.expect("MESSAGE").body == b"4"
    assert is_served(client)
    assert drain(client, queue_of("b", name)) == [b"2", b"4"]
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(client, queue_of("a", name)) == [b"2"]


def test_a_group_of_all_topics_of_a_kind(connect: Connect, name: str) -> None:
    """`Consumer.NAME.VirtualTopic.>`: one queue for all, whatever topics there are or will be."""
    client, sender = connect(), connect()
    put(sender, f"/topic/{name}.early", b"nobody is there")
    subscribe(client, queue_of("a", f"{name}.>"), ack="client")
    subscribe(client, queue_of("b", f"{name}.*"), id="b", ack="client")
    accepted(client.ask("UNSUBSCRIBE", id="b"))
    topics = [f"/topic/{name}{rest}" for rest in ("", ".early", ".late", ".late.deep")]
    for topic in topics:
        put(sender, topic, b"x")
    messages = take(client, 4)
    assert [message.headers["original-destination"] for message in messages] == topics
    assert {message.headers["destination"] for message in messages} == {queue_of("a", f"{name}.>")}
    accepted(ack(client, messages[-1]))
    subscribe(client, queue_of("b", f"{name}.*"), id="b")
    assert [each.headers["original-destination"] for each in take(client, 2)] == topics[1:3]


def test_such_a_group_survives_a_restart(
    start_broker: StartBroker, connect: Connect, name: str
) -> None:
    broker = start_broker()
    subscribe(connect(to=broker), queue_of("a", f"{name}.>"))
    broker.kill()
    broker = start_broker()
    put(connect(to=broker), f"/topic/{name}.new", b"x")
    client = connect(to=broker)
    subscribe(client, queue_of("a", f"{name}.>"))
    assert client.expect("MESSAGE").body == b"x"


def test_a_wildcard_for_the_group_means_the_queues_of_all(connect: Connect, name: str) -> None:
    """Of those that are there: it makes none of its own."""
    client, watcher = connect(), connect()
    for consumer in ("a", "b"):
        subscribe(client, queue_of(consumer, name), id=consumer)
        accepted(client.ask("UNSUBSCRIBE", id=consumer))
    subscribe(watcher, queue_of("*", name))
    put(client, f"/topic/{name}", b"x")
    got = {message.headers["destination"] for message in take(watcher, 2)}
    assert got == {queue_of("a", name), queue_of("b", name)}
    assert is_served(watcher)


def test_a_dead_letter_says_the_groups_queue(connect: Connect, name: str) -> None:
    """Where it failed, and not the topic; each header once."""
    client = connect()
    subscribe(client, queue_of("a", name), ack="client")
    client.send("SEND", b"x", destination=f"/topic/{name}", mark=name)
    accepted(nack(client, client.expect("MESSAGE")))
    subscribe(client, "/queue/ActiveMQ.DLQ", id="d", selector=f"mark = '{name}'")
    letter = client.expect("MESSAGE")
    assert letter.headers["original-destination"] == queue_of("a", name)
    assert client.received.count(b"original-destination") == 2


def test_sending_to_a_groups_queue_is_sending_to_a_queue(connect: Connect, name: str) -> None:
    """It exists from then on; but a pattern is not for SEND."""
    client = connect()
    put(client, queue_of("a", name), b"1")
    put(client, f"/topic/{name}", b"2")
    assert drain(client, queue_of("a", name)) == [b"1", b"2"]
    expect_error(client.ask("SEND", destination=queue_of("a", f"{name}.>")), "Illegal destination")


def test_a_retained_message_is_not_for_groups(connect: Connect, name: str) -> None:
    client = connect()
    subscribe(client, queue_of("a", name))
    client.send("SEND", b"x", destination=f"/topic/{name}", **{"ActiveMQ.Retain": "true"})
    assert "ActiveMQ.Retained" not in client.expect("MESSAGE").headers
    subscribe(client, queue_of("b", name), id="b")
    assert is_served(client)


def test_policies_of_the_groups_queue_hold(start_broker: StartBroker, connect: Connect) -> None:
    """One that is full slows the topic's senders down, or refuses them, as its policy says."""
    broker = start_broker(
        "memory:",
        **{
            'destination."Consumer.a.>".max_messages': 2,
            'destination."Consumer.a.>".at_limit': "error",
            'destination."Consumer.b.>".ttl_default': 60_000,
        },
    )
    client = connect(to=broker)
    for consumer in ("a", "b", "c"):
        subscribe(client, queue_of(consumer, "VirtualTopic.x"), id=consumer)
        accepted(client.ask("UNSUBSCRIBE", id=consumer))
    put(client, "/topic/VirtualTopic.x", b"1", b"2")
    expect_error(client.ask("SEND", b"3", destination="/topic/VirtualTopic.x"), "is full")
    for consumer in ("b", "c"):
        subscribe(client, queue_of(consumer, "VirtualTopic.x"), id=consumer)
        for message in take(client, 2):
            assert ("expires" in message.headers) == (consumer == "b")
    assert drain(client, queue_of("a", "VirtualTopic.x")) == [b"1", b"2"]


@pytest.mark.parametrize(
    "queue",
    [
        "/queue/Consumer.a.Topic.x",
        "/queue/consumer.a.VirtualTopic.x",
        "/queue/Consumer.VirtualTopic.x",
        "/queue/Consumer.a.b.VirtualTopic.x",
        "/queue/Consumer.a.VirtualTopicx",
    ],
)
def test_what_is_no_group(connect: Connect, queue: str) -> None:
    client = connect()
    subscribe(client, queue)
    for topic in ("/topic/VirtualTopic.x", "/topic/x", "/topic/Topic.x"):
        put(client, topic, b"x")
    assert is_served(client)


def test_topics_and_groups_when_nobody_is_there() -> None:
    """The queue of a group stays, and its topic; topics that only a pattern means go, and come back."""
    house = House()
    routes, client = house.broker.routes, InHouse(house)
    for name in ("Consumer.a.VirtualTopic.named", "Consumer.b.VirtualTopic.>"):
        client.ask("SUBSCRIBE", destination=f"/queue/{name}", id_=name)
        client.ask("UNSUBSCRIBE", id_=name)
    house.sweep()
    for _ in range(2):
        for name in ("named", "other"):
            sent = client.ask("SEND", b"x", destination=f"/topic/VirtualTopic.{name}", receipt="r")
            assert sent == ["RECEIPT"]
        house.sweep()
        assert routes.topics.keys() == {"VirtualTopic.named"}
    assert routes.queues["Consumer.a.VirtualTopic.named"].waiting == 2
    assert routes.queues["Consumer.b.VirtualTopic.>"].waiting == 4
