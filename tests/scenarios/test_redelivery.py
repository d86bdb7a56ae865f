"""Order, and what happens to it when consumers come, go and give back."""

from __future__ import annotations

import random

import pytest

from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    drain,
    is_served,
    put,
    subscribe,
    take,
)

SEED = 20  # of the shuffles; a failure shows it


def pour(client: Client, queue: str, first: int, last: int, **headers: str) -> None:
    """Send numbered messages without waiting for each, then make sure that they have been taken."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items()).encode()
    client.write(
        b"".join(
            b"SEND\ndestination:%b\n%b\n%d\0" % (queue.encode(), lines, number)
            for number in range(first, last)
        )
    )
    assert is_served(client)


def numbers(client: Client, count: int) -> list[int]:
    """Return the next messages' numbers."""
    return [int(message.body) for message in take(client, count)]


@pytest.mark.parametrize("loss", ["hang up", "DISCONNECT", "UNSUBSCRIBE"])
def test_unacknowledged_messages_go_back_in_order(
    connect: Connect, version: str, queue: str, loss: str
) -> None:
    """At once, to their places before what came later, marked, with the same message-id."""
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    client, other = connect(version), connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 5)
    accepted(ack(client, messages[1]))
    put(connect(version), queue, b"5")
    client.expect("MESSAGE")
    subscribe(other, queue)
    if loss == "hang up":
        client.close()
    elif loss == "DISCONNECT":
        client.send("DISCONNECT")
    else:
        client.send("UNSUBSCRIBE", id="s")
    back = take(other, 5)
    assert bodies(back) == [b"0", b"2", b"3", b"4", b"5"]
    assert all(message.headers["redelivered"] == "true" for message in back)
    expected = [message.headers["message-id"] for message in (messages[0], *messages[2:])]
    assert [message.headers["message-id"] for message in back[:4]] == expected
    if version == "1.2":
        assert "ack" not in back[0].headers


def test_never_delivered_is_not_redelivered(connect: Connect, version: str, queue: str) -> None:
    """What only waited while another consumer was there is not marked."""
    client = connect(version)
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "2"})
    put(connect(version), queue, b"0", b"1", b"2", b"3")
    take(client, 2)
    client.close()
    other = connect(version)
    subscribe(other, queue)
    marks = [message.headers.get("redelivered") for message in take(other, 4)]
    assert marks == ["true", "true", None, None]


def test_again_and_again(connect: Connect, version: str, queue: str) -> None:
    """Ten consumers that die with the same messages in hand lose none and change no order."""
    put(connect(version), queue, *[b"%d" % n for n in range(20)])
    ids = set()
    for _ in range(10):
        client = connect(version)
        subscribe(client, queue, ack="client")
        messages = take(client, 20)
        assert bodies(messages) == [b"%d" % n for n in range(20)]
        ids.add(tuple(message.headers["message-id"] for message in messages))
        accepted(client.ask("DISCONNECT"))
    assert len(ids) == 1


def test_two_dying_consumers(connect: Connect, version: str, queue: str) -> None:
    """What two consumers held between them comes together in its old order."""
    first, second = connect(version), connect(version)
    for client in (first, second):
        subscribe(client, queue, ack="client-individual")
    put(connect(version), queue, *[b"%d" % n for n in range(10)])
    take(first, 5)
    take(second, 5)
    accepted(second.ask("UNSUBSCRIBE", id="s"))
    take(first, 5)
    first.close()
    assert drain(connect(version), queue) == [b"%d" % n for n in range(10)]


def test_a_connection_with_several_subscriptions_dies(
    connect: Connect, version: str, queue: str
) -> None:
    """Nothing is handed to its other subscriptions on the way out, and order holds."""
    client, other = connect(version), connect(version)
    for id in ("a", "b", "c"):
        subscribe(client, queue, id=id, ack="client-individual")
    put(connect(version), queue, *[b"%d" % n for n in range(9)])
    take(client, 9)
    subscribe(other, queue, ack="client")
    client.close()
    back = take(other, 9)
    assert bodies(back) == [b"%d" % n for n in range(9)]


def test_prefetch_one_redelivers_in_order(connect: Connect, version: str, queue: str) -> None:
    """A consumer that takes one at a time and dies each time always finds the same one."""
    put(connect(version), queue, b"0", b"1")
    for _ in range(5):
        client = connect(version)
        subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "1"})
        assert client.expect("MESSAGE").body == b"0"
        accepted(client.ask("UNSUBSCRIBE", id="s"))


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_order_of_a_long_backlog(connect: Connect, queue: str, persistent: str) -> None:
    """Five thousand waiting messages, most of them only on disk, come out as they went in."""
    pour(connect(), queue, 0, 5000, persistent=persistent)
    client = connect()
    subscribe(client, queue)
    assert numbers(client, 5000) == list(range(5000))


def test_order_of_a_mixed_backlog(connect: Connect, queue: str) -> None:
    """Persistent messages and others keep their common order, in memory or on disk."""
    sender = connect()
    for start in range(0, 4000, 100):
        persistent = "false" if start // 100 % 3 == 1 else "true"
        pour(sender, queue, start, start + 100, persistent=persistent)
    client = connect()
    subscribe(client, queue)
    assert numbers(client, 4000) == list(range(4000))


def test_order_while_it_is_written_and_read(connect: Connect, queue: str) -> None:
    """A reader that is always a little behind sees one order, whatever is on its way to disk."""
    sender, client = connect(), connect()
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "100"})
    seen = 0
    for start in range(0, 6000, 600):
        pour(sender, queue, start, start + 600)
        for _ in range(500):
            message = client.expect("MESSAGE")
            assert int(message.body) == seen
            seen += 1
            if seen % 50 == 0:
                client.send("ACK", **acknowledgement(client, message))
    while seen < 6000:
        message = client.expect("MESSAGE")
        assert int(message.body) == seen
        seen += 1
        if seen % 50 == 0:
            client.send("ACK", **acknowledgement(client, message))


def test_long_backlog_given_back(connect: Connect, queue: str) -> None:
    """A consumer that dies with thousands of messages loses none and changes no order."""
    pour(connect(), queue, 0, 4000)
    for _ in range(3):
        client = connect()
        subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "2500"})
        assert numbers(client, 2500) == list(range(2500))
        accepted(client.ask("UNSUBSCRIBE", id="s"))
    client = connect()
    subscribe(client, queue)
    assert numbers(client, 4000) == list(range(4000))


def test_acknowledged_here_and_there(connect: Connect, queue: str) -> None:
    """Individual acknowledgements all over a long backlog leave exactly the others, in order."""
    chance = random.Random(SEED)
    pour(connect(), queue, 0, 3000)
    client = connect()
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "3000"})
    messages = take(client, 3000)
    done = chance.sample(range(3000), 1500)
    for number in done:
        client.send("ACK", **acknowledgement(client, messages[number]))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    left = sorted(set(range(3000)) - set(done))
    assert [int(body) for body in drain(connect(), queue)] == left


def test_many_consumers_that_come_and_go(connect: Connect, queue: str) -> None:
    """Whatever consumers do, every message is acknowledged once and none twice unmarked."""
    chance = random.Random(SEED)
    pour(connect(), queue, 0, 1000)
    done: list[int] = []
    first_time: set[int] = set()
    while len(done) < 1000:
        client = connect(chance.choice(("1.0", "1.1", "1.2")))
        size = chance.randint(1, 60)
        subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": str(size)})
        for message in take(client, min(size, 1000 - len(done))):
            number = int(message.body)
            assert (number in first_time) == (message.headers.get("redelivered") == "true")
            first_time.add(number)
            if chance.random() < 0.7:
                client.send("ACK", **acknowledgement(client, message))
                done.append(number)
        client.send("DISCONNECT", receipt="bye")
        while (frame := client.frame()).command == "MESSAGE":  # there was room for more
            first_time.add(int(frame.body))
        assert frame.headers["receipt-id"] == "bye"
    assert sorted(done) == list(range(1000))
    assert drain(connect(), queue) == []
