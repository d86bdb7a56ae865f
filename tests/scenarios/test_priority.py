"""Priorities and lifetimes: who goes first, who comes too late."""

from __future__ import annotations

import time

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    let_pass,
    put,
    subscribe,
    take,
)


def soon(milliseconds: int) -> str:
    """Return the moment so many milliseconds from now, as `expires` has it."""
    return str(int(time.time() * 1000) + milliseconds)


def test_higher_priorities_first(connect: Connect, version: str, queue: str) -> None:
    """9 before 0, first in first out within one; without the header it is 4."""
    sender = connect(version)
    for number, priority in enumerate(
        ["4", "0", "9", "5", "4", "9", "0", "1", "8", "3", "2", "7", "6"]
    ):
        put(sender, queue, f"{priority} {number}".encode(), priority=priority)
    put(sender, queue, b"4 13")
    client = connect(version)
    subscribe(client, queue)
    assert (
        b" ".join(body[:1] for body in bodies(take(client, 14))) == b"9 9 8 7 6 5 4 4 4 3 2 1 0 0"
    )


def test_order_within_a_priority(connect: Connect, version: str, queue: str) -> None:
    """Within one priority nothing overtakes."""
    sender = connect(version)
    for number in range(30):
        put(sender, queue, b"%d" % number, priority=str(number % 3))
    client = connect(version)
    subscribe(client, queue)
    expected = [b"%d" % n for priority in (2, 1, 0) for n in range(priority, 30, 3)]
    assert bodies(take(client, 30)) == expected


def test_priority_is_told_to_the_reader(connect: Connect, version: str, queue: str) -> None:
    """As the sender wrote it, and not at all if he did not."""
    put(connect(version), queue, b"x", priority="7")
    put(connect(version), queue, b"x")
    client = connect(version)
    subscribe(client, queue)
    assert [m.headers.get("priority") for m in take(client, 2)] == ["7", None]


@pytest.mark.parametrize(("written", "meant"), [("99", "9"), ("-5", "0"), ("10", "9")])
def test_priorities_out_of_range(
    connect: Connect, version: str, queue: str, written: str, meant: str
) -> None:
    """More than 9 is 9, less than 0 is 0."""
    sender = connect(version)
    for priority in ("1", written, "8", meant):
        put(sender, queue, priority.encode(), priority=priority)
    client = connect(version)
    subscribe(client, queue)
    order = [written, meant, "8", "1"] if meant == "9" else ["8", "1", written, meant]
    assert bodies(take(client, 4)) == [priority.encode() for priority in order]


def test_a_message_given_back_keeps_its_priority(
    connect: Connect, version: str, queue: str
) -> None:
    """It goes back to its place: before the less urgent, behind the more urgent."""
    put(connect(version), queue, b"middle", priority="5")
    client = connect(version)
    subscribe(client, queue, ack="client")
    client.expect("MESSAGE")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(connect(version), queue, b"low", priority="1")
    put(connect(version), queue, b"high", priority="9")
    put(connect(version), queue, b"middle too", priority="5")
    assert drain(connect(version), queue) == [b"high", b"middle", b"middle too", b"low"]


def test_after_a_restart(start_broker: StartBroker, connect: Connect) -> None:
    """Order and priorities are on disk, and messages expire while the broker is down."""
    broker = start_broker()
    for number in range(20):
        put(connect(to=broker), "/queue/a", b"%d" % number, priority=str(number % 4 * 3))
    put(connect(to=broker), "/queue/b", b"late", ttl="200")
    put(connect(to=broker), "/queue/b", b"still good", ttl="600000")
    broker.kill()
    broker = start_broker()
    let_pass(broker, 0.1)
    assert drain(connect(to=broker), "/queue/b") == [b"still good"]
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    expected = [b"%d" % n for lane in (3, 2, 1, 0) for n in range(lane, 20, 4)]
    assert bodies(take(client, 20)) == expected


# Lifetimes


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_expired_before_it_was_sent(
    connect: Connect, version: str, queue: str, persistent: str
) -> None:
    """A message whose time is over is confirmed and never delivered."""
    client = connect(version)
    subscribe(client, queue)
    put(connect(version), queue, b"late", expires="1", persistent=persistent)
    put(connect(version), queue, b"late", expires=soon(-1), persistent=persistent)
    assert client.silent()


@pytest.mark.parametrize("persistent", ["true", "false"])
@pytest.mark.parametrize("header", ["expires", "ttl", "expiration"])
def test_expired_while_it_waited(
    server: BrokerProcess, connect: Connect, queue: str, header: str, persistent: str
) -> None:
    """`expires` is a moment, `ttl` and `expiration` a span; whoever comes after it gets nothing."""
    sender = connect()
    put(sender, queue, b"forever", persistent=persistent)
    value = soon(300) if header == "expires" else "300"
    put(sender, queue, b"late", persistent=persistent, **{header: value})
    value = soon(60_000) if header == "expires" else "60000"
    put(sender, queue, b"in time", persistent=persistent, **{header: value})
    let_pass(server, 0.35)
    assert drain(connect(), queue) == [b"forever", b"in time"]


def test_zero_is_never(connect: Connect, version: str, queue: str) -> None:
    """`expires:0` and `ttl:0` mean no limit, as in JMS."""
    put(connect(version), queue, b"1", expires="0")
    put(connect(version), queue, b"2", ttl="0")
    assert drain(connect(version), queue) == [b"1", b"2"]


def test_expires_is_told_to_the_reader(connect: Connect, version: str, queue: str) -> None:
    """As it was written, or as `ttl` makes it."""
    moment = soon(60_000)
    put(connect(version), queue, b"x", expires=moment)
    put(connect(version), queue, b"x", ttl="60000")
    client = connect(version)
    subscribe(client, queue)
    first, second = take(client, 2)
    assert first.headers["expires"] == moment
    assert abs(int(second.headers["expires"]) - int(moment)) < 30_000


def test_delivered_in_time_is_acknowledged_in_time(
    server: BrokerProcess, connect: Connect, version: str, queue: str
) -> None:
    """Expiry does not take a message from the consumer who holds it."""
    put(connect(version), queue, b"x", ttl="200")
    client = connect(version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    let_pass(server, 0.25)
    accepted(ack(client, message))


def test_expired_while_a_consumer_held_it(
    server: BrokerProcess, connect: Connect, version: str, queue: str
) -> None:
    """Given back after its time, a message is delivered to nobody else."""
    put(connect(version), queue, b"late", ttl="200")
    client = connect(version)
    subscribe(client, queue, ack="client")
    client.expect("MESSAGE")
    let_pass(server, 0.25)
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


def test_expired_messages_do_not_use_up_credit(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """A consumer with prefetch 1 gets the first message that is still good."""
    sender = connect()
    for _ in range(20):
        put(sender, queue, b"late", ttl="100")
    put(sender, queue, b"good")
    let_pass(server, 0.15)
    client = connect()
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "1"})
    assert client.expect("MESSAGE").body == b"good"


def test_lifetime_in_a_transaction_begins_with_the_send(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """A transaction that takes too long commits messages that are expired: nobody gets them."""
    client = connect()
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, queue, b"late", ttl="150", transaction="t")
    put(client, queue, b"good", transaction="t")
    let_pass(server, 0.2)
    accepted(client.ask("COMMIT", transaction="t"))
    assert drain(connect(), queue) == [b"good"]
