"""Browsing: a client looks at what waits in a queue, is told where it ends, and takes nothing."""

from __future__ import annotations

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)


def browse(client: Client, queue: str, **headers: str) -> list[Frame]:
    """Look through a queue; return what was seen before the end."""
    subscribe(client, queue, id="browser", browser="true", **headers)
    seen = []
    while (message := client.expect("MESSAGE", subscription="browser")).headers["browser"] != "end":
        seen.append(message)
    accepted(client.ask("UNSUBSCRIBE", id="browser"))
    return seen


def test_everything_is_seen_and_nothing_taken(
    connect: Connect, later_version: str, queue: str
) -> None:
    """In order, as often as one looks; a consumer who comes then gets it all, as if nobody had looked."""
    put(connect(later_version), queue, b"1", b"2", b"3", kind="x")
    client = connect(later_version)
    for _ in range(2):
        seen = browse(client, queue)
        assert bodies(seen) == [b"1", b"2", b"3"]
        assert all(frame.headers["kind"] == "x" for frame in seen)
        assert all(frame.headers["destination"] == queue for frame in seen)
    consumer = connect(later_version)
    subscribe(consumer, queue)
    found = take(consumer, 3)
    assert bodies(found) == [b"1", b"2", b"3"]
    assert all("redelivered" not in frame.headers for frame in found)
    assert [frame.headers["message-id"] for frame in found] == [
        frame.headers["message-id"] for frame in seen
    ]


def test_the_end(connect: Connect, later_version: str, queue: str) -> None:
    """A message without a body says that this was all; it is the first one if the queue is empty."""
    client = connect(later_version)
    subscribe(client, queue, id="b", browser="true")
    end = client.expect("MESSAGE")
    assert end.headers == {
        "subscription": "b",
        "destination": queue,
        "message-id": "0",
        "browser": "end",
        "content-length": "0",
    }
    assert end.body == b""
    assert is_served(client)


def test_the_end_comes_once(connect: Connect, later_version: str, queue: str) -> None:
    """What comes later is not shown, and the subscription is there until it is ended."""
    client = connect(later_version)
    put(connect(later_version), queue, b"1")
    subscribe(client, queue, id="b", browser="true")
    assert [frame.headers["browser"] for frame in take(client, 2)] == ["true", "end"]
    put(connect(later_version), queue, b"2")
    assert is_served(client)
    expect_error(
        client.ask("SUBSCRIBE", destination=queue, id_="b", browser="true"),
        "Duplicated subscription identifier",
    )
    accepted(client.ask("UNSUBSCRIBE", id="b"))
    assert bodies(browse(client, queue)) == [b"1", b"2"]


@pytest.mark.parametrize("mode", ["auto", "client", "client-individual"])
def test_nothing_is_to_be_acknowledged(
    connect: Connect, later_version: str, queue: str, mode: str
) -> None:
    """Whatever the SUBSCRIBE says; an ACK of what was only shown is refused."""
    put(connect(later_version), queue, *[b"%d" % number for number in range(1500)])
    client = connect(later_version)
    seen = browse(client, queue, ack=mode)
    assert len(seen) == 1500
    assert all("ack" not in frame.headers for frame in seen)
    id = seen[0].headers["message-id"]
    answer = client.ask("ACK", id_=id, message_id=id, subscription="browser")
    expect_error(answer, "Unexpected ACK")
    client.close()
    assert len(drain(connect(later_version), queue)) == 1500


def test_only_what_waits_is_seen(connect: Connect, later_version: str, queue: str) -> None:
    """Not what a consumer has; again when it is given back, in its place, and marked."""
    put(connect(later_version), queue, b"1", b"2", b"3")
    consumer, client = connect(later_version), connect(later_version)
    subscribe(consumer, queue, ack="client", **{"activemq.prefetchSize": "2"})
    take(consumer, 2)
    assert bodies(browse(client, queue)) == [b"3"]
    accepted(consumer.ask("UNSUBSCRIBE", id="s"))
    seen = browse(client, queue)
    assert bodies(seen) == [b"1", b"2", b"3"]
    assert [frame.headers.get("redelivered") for frame in seen] == ["true", "true", None]


def test_by_priority(connect: Connect, later_version: str, queue: str) -> None:
    """In the order in which a consumer would get it."""
    sender = connect(later_version)
    for priority in ("4", "0", "9", "4"):
        put(sender, queue, priority.encode(), priority=priority)
    assert bodies(browse(connect(later_version), queue)) == [b"9", b"4", b"4", b"0"]


def test_what_is_not_persistent_too(connect: Connect, later_version: str, queue: str) -> None:
    """In its place among what is stored."""
    sender = connect(later_version)
    for number in range(6):
        put(sender, queue, b"%d" % number, persistent="false" if number % 2 else "true")
    assert bodies(browse(connect(later_version), queue)) == [b"%d" % n for n in range(6)]


def test_with_a_selector(connect: Connect, later_version: str, queue: str) -> None:
    """Only what it means is shown, from the whole queue."""
    sender = connect(later_version)
    for number in range(20):
        put(sender, queue, b"%d" % number, number=str(number))
    seen = browse(connect(later_version), queue, selector="number >= 5 AND number < 8")
    assert bodies(seen) == [b"5", b"6", b"7"]


def test_a_deep_backlog(connect: Connect, later_version: str, queue: str) -> None:
    """More than the broker keeps in memory, and more than a socket takes at once."""
    body = b"x" * 2000
    put(connect(later_version), queue, *[b"%d %b" % (number, body) for number in range(5000)])
    client = connect(later_version)
    client.send("SUBSCRIBE", destination=queue, id_="b", browser="true")
    assert is_served(connect(later_version))
    found = take(client, 5001)
    assert [int(frame.body.split()[0]) for frame in found[:-1]] == [*range(5000)]
    assert found[-1].headers["browser"] == "end"


def test_while_others_consume(connect: Connect, later_version: str, queue: str) -> None:
    """Each sees what is still there when its turn comes, once and in order; the consumer misses nothing."""
    put(connect(later_version), queue, *[b"%d" % number for number in range(3000)])
    consumer = connect(later_version)
    watchers = [connect(later_version) for _ in range(3)]
    for watcher in watchers:
        watcher.send("SUBSCRIBE", destination=queue, id_="b", browser="true")
    subscribe(consumer, queue)
    assert bodies(take(consumer, 3000)) == [b"%d" % number for number in range(3000)]
    for watcher in watchers:
        seen = []
        while (message := watcher.expect("MESSAGE")).headers["browser"] != "end":
            seen.append(int(message.body))
        assert seen == sorted(set(seen))


def test_it_can_be_ended_early(connect: Connect, later_version: str, queue: str) -> None:
    """After the RECEIPT for UNSUBSCRIBE nothing more is shown."""
    put(connect(later_version), queue, *[b"%d" % number for number in range(3000)])
    client = connect(later_version)
    client.send("SUBSCRIBE", destination=queue, id_="b", browser="true")
    client.send("UNSUBSCRIBE", id_="b", receipt="over")
    while client.frame().command != "RECEIPT":
        pass
    assert is_served(client)


def test_a_browser_does_not_count_as_a_consumer(
    connect: Connect, later_version: str, queue: str
) -> None:
    """What comes while somebody looks waits for somebody who takes, and goes to him."""
    client, consumer = connect(later_version), connect(later_version)
    subscribe(client, queue, id="b", browser="true")
    client.expect("MESSAGE", browser="end")
    put(connect(later_version), queue, b"1")
    subscribe(consumer, queue, ack="client")
    [message] = take(consumer, 1)
    accepted(ack(consumer, message))
    assert is_served(client)


@pytest.mark.parametrize("destination", ["/topic/a", "/queue/a,/queue/b", "/queue/a.>"])
def test_only_one_queue_can_be_browsed(
    connect: Connect, later_version: str, destination: str
) -> None:
    """Anything else is an ERROR, and the connection goes on."""
    client = connect(later_version)
    answer = client.ask("SUBSCRIBE", destination=destination, id_="b", browser="true")
    expect_error(answer, "Only a queue can be browsed")
    assert is_served(client)


def test_not_in_stomp_1_0(connect: Connect, queue: str) -> None:
    """As in ActiveMQ."""
    client = connect("1.0")
    answer = client.ask("SUBSCRIBE", destination=queue, browser="true")
    expect_error(answer, "Queue Browser feature only valid for Stomp v1.1+ clients!")
    assert is_served(client)


def test_what_survived_a_crash(
    connect: Connect, start_broker: StartBroker, later_version: str, queue: str
) -> None:
    """Somebody looks before anybody takes: it is all there, in order."""
    broker = start_broker()
    put(connect(later_version, to=broker), queue, *[b"%d" % number for number in range(2000)])
    broker.kill()
    broker = start_broker(broker.store)
    seen = browse(connect(later_version, to=broker), queue)
    assert bodies(seen) == [b"%d" % number for number in range(2000)]
