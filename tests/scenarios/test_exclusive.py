"""Who is served: one consumer exclusively, or the ones of a higher priority before the others."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)

EXCLUSIVE = {"activemq.exclusive": "true"}


def ranked(rank: int, prefetch: int = 1000) -> dict[str, str]:
    """Return the headers of a consumer with a priority."""
    return {
        "activemq.priority": str(rank),
        "activemq.prefetchSize": str(prefetch),
        "ack": "client-individual",
    }


def end(client: Client, how: str) -> None:
    """End a client's subscription, in one of three ways."""
    if how == "hang up":
        client.close()
    elif how == "DISCONNECT":
        client.send("DISCONNECT")
    else:
        client.send("UNSUBSCRIBE", id_="s")


# --- one exclusively --------------------------------------------------------------------------------


def test_one_consumer_gets_everything(connect: Connect, version: str, queue: str) -> None:
    """The first of those who asked for it; the others wait, in order, and so does who did not ask."""
    first, second, plain = (connect(version) for _ in range(3))
    subscribe(first, queue, **EXCLUSIVE)
    subscribe(second, queue, **EXCLUSIVE)
    subscribe(plain, queue)
    put(connect(version), queue, *[b"%d" % number for number in range(20)])
    assert bodies(take(first, 20)) == [b"%d" % number for number in range(20)]
    assert is_served(second)
    assert is_served(plain)


@pytest.mark.parametrize("how", ["hang up", "DISCONNECT", "UNSUBSCRIBE"])
def test_the_next_one_takes_over(
    connect: Connect, later_version: str, queue: str, how: str
) -> None:
    """What the first one had not acknowledged comes first, then the rest, in order."""
    first, second = connect(later_version), connect(later_version)
    subscribe(first, queue, ack="client-individual", **EXCLUSIVE, **{"activemq.prefetchSize": "3"})
    subscribe(second, queue, **EXCLUSIVE)
    put(connect(later_version), queue, *[b"%d" % number for number in range(6)])
    _, one, _ = take(first, 3)
    first.send("ACK", **acknowledgement(first, one))
    assert bodies(take(first, 1)) == [b"3"]
    end(first, how)
    found = take(second, 5)
    assert bodies(found) == [b"0", b"2", b"3", b"4", b"5"]
    assert [frame.headers.get("redelivered") for frame in found] == ["true"] * 3 + [None] * 2


def test_when_the_last_exclusive_one_has_gone_everybody_is_served(
    connect: Connect, version: str, queue: str
) -> None:
    """Those who did not ask for it were waiting."""
    exclusive, plain = connect(version), connect(version)
    subscribe(plain, queue)
    subscribe(exclusive, queue, **EXCLUSIVE, **{"activemq.prefetchSize": "1"}, ack="client")
    put(connect(version), queue, b"1", b"2", b"3")
    assert bodies(take(exclusive, 1)) == [b"1"]
    assert is_served(plain)
    exclusive.close()
    assert bodies(take(plain, 3)) == [b"1", b"2", b"3"]


def test_who_came_before_keeps_what_it_has(connect: Connect, version: str, queue: str) -> None:
    """An exclusive consumer that comes later gets what comes from then on."""
    plain, exclusive = connect(version), connect(version)
    subscribe(plain, queue, ack="client")
    put(connect(version), queue, b"1")
    take(plain, 1)
    subscribe(exclusive, queue, **EXCLUSIVE)
    put(connect(version), queue, b"2")
    assert bodies(take(exclusive, 1)) == [b"2"]
    plain.close()
    assert bodies(take(exclusive, 1)) == [b"1"]


def test_an_exclusive_consumer_of_a_higher_priority(
    connect: Connect, version: str, queue: str
) -> None:
    """It takes over when it comes."""
    first, higher = connect(version), connect(version)
    subscribe(first, queue, **EXCLUSIVE)
    put(connect(version), queue, b"1")
    subscribe(higher, queue, **EXCLUSIVE, **{"activemq.priority": "1"})
    put(connect(version), queue, b"2")
    assert bodies(take(first, 1)) == [b"1"]
    assert bodies(take(higher, 1)) == [b"2"]
    assert is_served(first)


def test_with_a_selector(connect: Connect, version: str, queue: str) -> None:
    """What the exclusive consumer does not want waits until it has gone."""
    exclusive, plain = connect(version), connect(version)
    subscribe(exclusive, queue, **EXCLUSIVE, selector="kind = 'a'")
    subscribe(plain, queue)
    sender = connect(version)
    for kind in ("b", "a"):
        put(sender, queue, kind.encode(), kind=kind)
    assert bodies(take(exclusive, 1)) == [b"a"]
    assert is_served(plain)
    exclusive.close()
    assert bodies(take(plain, 1)) == [b"b"]


def test_an_operator_can_make_all_consumers_of_a_queue_exclusive(
    connect: Connect, start_broker: StartBroker, version: str
) -> None:
    """They need not ask."""
    broker = start_broker("memory:", **{'destination."orders.>".exclusive': True})
    first, second = connect(version, to=broker), connect(version, to=broker)
    subscribe(first, "/queue/orders.new")
    subscribe(second, "/queue/orders.new")
    put(connect(version, to=broker), "/queue/orders.new", b"1", b"2")
    assert bodies(take(first, 2)) == [b"1", b"2"]
    first.close()
    put(connect(version, to=broker), "/queue/orders.new", b"3")
    assert bodies(take(second, 1)) == [b"3"]


def test_a_backlog_in_order(connect: Connect, version: str, queue: str) -> None:
    """An exclusive consumer is there to keep the order, also of what is only in the store."""
    put(connect(version), queue, *[b"%d" % number for number in range(3000)])
    client = connect(version)
    subscribe(client, queue, **EXCLUSIVE)
    assert bodies(take(client, 3000)) == [b"%d" % number for number in range(3000)]


# --- priorities of consumers ------------------------------------------------------------------------


def test_the_higher_priority_is_served_first(connect: Connect, version: str, queue: str) -> None:
    """The lower one gets something when the higher one has as much as it wants to hold."""
    low, high = connect(version), connect(version)
    subscribe(low, queue, **ranked(0))
    subscribe(high, queue, **ranked(10, prefetch=2))
    put(connect(version), queue, *[b"%d" % number for number in range(5)])
    found = take(high, 2)
    assert bodies(found) == [b"0", b"1"]
    assert bodies(take(low, 3)) == [b"2", b"3", b"4"]
    high.send("ACK", **acknowledgement(high, found[0]))
    assert is_served(high)
    put(connect(version), queue, b"5")
    assert bodies(take(high, 1)) == [b"5"]
    assert is_served(low)


def test_equal_priorities_share(connect: Connect, version: str, queue: str) -> None:
    """Turn by turn, as those without a priority do; one of a lower priority gets nothing."""
    one, two, low = (connect(version) for _ in range(3))
    for client in (one, two):
        subscribe(client, queue, **ranked(3))
    subscribe(low, queue, **ranked(2))
    put(connect(version), queue, *[b"%d" % number for number in range(10)])
    got = bodies(take(one, 5)) + bodies(take(two, 5))
    assert sorted(got) == [b"%d" % number for number in range(10)]
    assert is_served(low)


def test_a_backlog_goes_to_the_higher_priority(connect: Connect, version: str, queue: str) -> None:
    """Whoever comes with a higher priority gets all that waits."""
    low = connect(version)
    subscribe(low, queue, **ranked(-1, prefetch=10))
    put(connect(version), queue, *[b"%d" % number for number in range(2000)])
    take(low, 10)
    high = connect(version)
    subscribe(high, queue, **ranked(0, prefetch=5000))
    assert bodies(take(high, 1990)) == [b"%d" % number for number in range(10, 2000)]
    assert is_served(low)


def test_what_the_higher_one_gives_back_the_lower_one_gets(
    connect: Connect, version: str, queue: str
) -> None:
    """When it has gone."""
    low, high = connect(version), connect(version)
    subscribe(low, queue)
    subscribe(high, queue, **ranked(1))
    put(connect(version), queue, b"1", b"2")
    take(high, 2)
    high.close()
    assert bodies(take(low, 2)) == [b"1", b"2"]


def test_the_word_of_rabbitmq(connect: Connect, version: str, queue: str) -> None:
    """x-priority means the same."""
    low, high = connect(version), connect(version)
    subscribe(low, queue)
    subscribe(high, queue, x_priority="5")
    put(connect(version), queue, b"1")
    assert bodies(take(high, 1)) == [b"1"]
    assert is_served(low)


def test_a_priority_that_is_no_number(connect: Connect, version: str, queue: str) -> None:
    """ERROR, nothing is subscribed, the connection goes on."""
    client = connect(version)
    answer = client.ask("SUBSCRIBE", destination=queue, id_="s", **{"activemq.priority": "high"})
    expect_error(answer, "activemq.priority")
    assert is_served(client)
    put(client, queue, b"1")
    assert drain(connect(version), queue) == [b"1"]
