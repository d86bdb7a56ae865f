"""Subscribing, unsubscribing, and who gets which message."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)


def test_message_has_what_the_specification_asks_for(
    connect: Connect, version: str, queue: str
) -> None:
    """Every MESSAGE tells destination, message-id, subscription and length; `ack` only where it is used."""
    for mode in ("auto", "client", "client-individual"):
        client = connect(version)
        subscribe(client, f"{queue}.{mode}", id=mode, ack=mode)
        put(connect(version), f"{queue}.{mode}", b"four")
        headers = client.expect("MESSAGE").headers
        assert headers["destination"] == f"{queue}.{mode}"
        assert headers["subscription"] == mode
        assert headers["message-id"]
        assert headers["content-length"] == "4"
        assert ("ack" in headers) == (version == "1.2" and mode != "auto")
        assert "redelivered" not in headers


def test_receipt_comes_before_the_first_message(connect: Connect, version: str, queue: str) -> None:
    """Whoever subscribes with a receipt reads it first, however many messages wait."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    client.send("SUBSCRIBE", destination=queue, id="s", receipt="r")
    client.expect("RECEIPT", receipt_id="r")
    assert bodies(take(client, 3)) == [b"1", b"2", b"3"]


def test_default_is_auto(connect: Connect, version: str, queue: str) -> None:
    """Without `ack`, or with a value nobody knows, messages count as acknowledged when sent."""
    for number, headers in enumerate(({}, {"ack": "auto"}, {"ack": "whatever"})):
        put(connect(version), queue, b"%d" % number)
        client = connect(version)
        subscribe(client, queue, **headers)
        assert client.expect("MESSAGE").body == b"%d" % number
        accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


@pytest.mark.parametrize("headers", [{}, {"destination": ""}, {"destination": "  "}])
def test_subscribe_without_destination(
    connect: Connect, version: str, headers: dict[str, str]
) -> None:
    """It is refused in ActiveMQ's words, and the connection goes on."""
    client = connect(version)
    answer = client.ask("SUBSCRIBE", id="1", **headers)
    expect_error(answer, "Invalid empty or 'null' Destination header")
    assert is_served(client)


def test_subscribe_without_id(connect: Connect, later_version: str, queue: str) -> None:
    """From 1.1 on a subscription needs an id."""
    client = connect(later_version)
    answer = client.ask("SUBSCRIBE", destination=queue)
    expect_error(answer, "SUBSCRIBE received without a subscription id!")
    assert is_served(client)


def test_duplicate_id(connect: Connect, version: str, queue: str) -> None:
    """An id names one subscription of a connection; another connection may use it too."""
    client, other = connect(version), connect(version)
    subscribe(client, queue, id="x")
    expect_error(
        client.ask("SUBSCRIBE", destination=f"{queue}.2", id="x"),
        "Duplicated subscription identifier: x",
    )
    subscribe(other, f"{queue}.2", id="x")
    put(connect(version), queue, b"still here")
    assert client.expect("MESSAGE", subscription="x").body == b"still here"
    accepted(client.ask("UNSUBSCRIBE", id="x"))
    subscribe(client, queue, id="x")


def test_ids_are_any_text(connect: Connect, version: str, queue: str) -> None:
    """An id need not be a number, and `01` is not `1`."""
    client = connect(version)
    ids = ("0", "1", "01", "-1", "a b", "ID:x,y", "ü")
    for number, id in enumerate(ids):
        subscribe(client, f"{queue}.{number}", id=id)
    for number, id in enumerate(ids):
        put(connect(version), f"{queue}.{number}", id.encode())
        assert client.expect("MESSAGE", subscription=id).body == id.encode()


def test_1_0_without_ids(connect: Connect, queue: str) -> None:
    """php-stomp names no subscription: its messages carry no `subscription`, its UNSUBSCRIBE a destination."""
    client = connect("1.0")
    accepted(client.ask("SUBSCRIBE", destination=queue))
    put(connect(), queue, b"1")
    assert "subscription" not in client.expect("MESSAGE").headers
    accepted(client.ask("UNSUBSCRIBE", destination=queue))
    put(connect(), queue, b"2")
    assert client.silent()


def test_1_0_unsubscribe_by_destination_takes_the_first(connect: Connect, queue: str) -> None:
    """With two subscriptions to one destination, each UNSUBSCRIBE ends one, as in ActiveMQ."""
    client = connect("1.0")
    subscribe(client, queue, id="first")
    subscribe(client, queue, id="second")
    accepted(client.ask("UNSUBSCRIBE", destination=queue))
    put(connect(), queue, b"1", b"2")
    for message in take(client, 2):
        assert message.headers["subscription"] == "second"
    accepted(client.ask("UNSUBSCRIBE", destination=queue))
    expect_error(client.ask("UNSUBSCRIBE", destination=queue), "No subscription matched.")


def test_1_0_subscribe_by_id_unsubscribe_by_id_or_destination(connect: Connect, queue: str) -> None:
    """1.0 takes either name of a subscription."""
    client = connect("1.0")
    for named in ({"id": "s"}, {"destination": queue}, {"id": "s", "destination": queue}):
        subscribe(client, queue)
        accepted(client.ask("UNSUBSCRIBE", **named))


def test_unsubscribe_needs_a_name(connect: Connect, queue: str) -> None:
    """It is refused in ActiveMQ's words."""
    expect_error(
        connect("1.0").ask("UNSUBSCRIBE"),
        "Must specify the subscriptionId or the destination you are unsubscribing from",
    )
    for version in ("1.1", "1.2"):
        client = connect(version)
        subscribe(client, queue)
        for headers in ({}, {"destination": queue}):
            answer = client.ask("UNSUBSCRIBE", **headers)
            expect_error(answer, "UNSUBSCRIBE received without a subscription id!")
        assert is_served(client)


def test_unsubscribe_of_nothing(connect: Connect, version: str, queue: str) -> None:
    """Ending what does not exist, or twice, is an error that leaves the connection alone."""
    client = connect(version)
    expect_error(client.ask("UNSUBSCRIBE", id="x"), "No subscription matched.")
    subscribe(client, queue, id="x")
    accepted(client.ask("UNSUBSCRIBE", id="x"))
    expect_error(client.ask("UNSUBSCRIBE", id="x"), "No subscription matched.")
    subscribe(client, queue, id="x")


def test_no_message_after_the_receipt_of_unsubscribe(
    connect: Connect, version: str, queue: str
) -> None:
    """After it the subscription is silent; what was not acknowledged went back, in order."""
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 5)
    accepted(ack(client, messages[2]))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(connect(version), queue, b"5")
    assert client.silent()
    other = connect(version)
    subscribe(other, queue)
    back = take(other, 5)
    assert bodies(back) == [b"0", b"1", b"3", b"4", b"5"]
    assert [message.headers.get("redelivered") for message in back] == ["true"] * 4 + [None]


def test_unacknowledged_message_cannot_be_acknowledged_after_unsubscribe(
    connect: Connect, version: str, queue: str
) -> None:
    """It belongs to nobody, or to somebody else, by then."""
    put(connect(version), queue, b"x")
    client = connect(version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    expect_error(ack(client, message), "Unexpected ACK received for message-id")
    assert drain(connect(version), queue) == [b"x"]


def test_consumers_compete_in_turn(connect: Connect, version: str, queue: str) -> None:
    """Messages go round among consumers that have credit."""
    clients = [connect(version) for _ in range(3)]
    for client in clients:
        subscribe(client, queue)
    put(connect(version), queue, *[b"%d" % n for n in range(9)])
    for number, client in enumerate(clients):
        assert bodies(take(client, 3)) == [b"%d" % n for n in range(number, 9, 3)]
        assert client.silent()


def test_two_subscriptions_of_one_connection_compete(
    connect: Connect, version: str, queue: str
) -> None:
    """They are two consumers like any others."""
    client = connect(version)
    subscribe(client, queue, id="a", ack="client-individual")
    subscribe(client, queue, id="b", ack="client-individual")
    put(connect(version), queue, b"1", b"2", b"3", b"4")
    messages = take(client, 4)
    assert [message.headers["subscription"] for message in messages] == ["a", "b", "a", "b"]
    for message in reversed(messages):
        accepted(ack(client, message))
    client.close()
    assert drain(connect(version), queue) == []


@pytest.mark.parametrize("header", ["activemq.prefetchSize", "prefetch-count"])
def test_prefetch(connect: Connect, version: str, queue: str, header: str) -> None:
    """A consumer holds at most that many unacknowledged messages; each ACK makes room for one."""
    put(connect(version), queue, *[b"%d" % n for n in range(6)])
    client = connect(version)
    subscribe(client, queue, ack="client-individual", **{header: "2"})
    first, second = take(client, 2)
    assert client.silent()
    client.send("ACK", **acknowledgement(client, second))
    assert client.expect("MESSAGE").body == b"2"
    assert client.silent()
    client.send("ACK", **acknowledgement(client, first))
    assert client.expect("MESSAGE").body == b"3"
    assert client.silent()


def test_prefetch_one_lets_the_free_consumer_work(
    connect: Connect, version: str, queue: str
) -> None:
    """With prefetch 1 a slow consumer hoards nothing: the others do the rest."""
    slow, quick = connect(version), connect(version)
    for client in (slow, quick):
        subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "1"})
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    held = slow.expect("MESSAGE")
    found = []
    for _ in range(4):
        message = quick.expect("MESSAGE")
        found.append(message.body)
        quick.send("ACK", **acknowledgement(quick, message))
    assert found == [b"1", b"2", b"3", b"4"]
    accepted(ack(slow, held))


def test_default_prefetch_is_a_thousand(connect: Connect, queue: str) -> None:
    """Without the header a consumer is given 1000 messages ahead, as in ActiveMQ."""
    sender = connect()
    sender.write(
        b"".join(b"SEND\ndestination:%b\n\n%d\0" % (queue.encode(), n) for n in range(1100))
    )
    assert sender.silent()
    client = connect()
    subscribe(client, queue, ack="client")
    messages = take(client, 1000)
    assert client.silent()
    client.send("ACK", **acknowledgement(client, messages[-1]))
    assert bodies(take(client, 100)) == [b"%d" % n for n in range(1000, 1100)]


def test_default_prefetch_can_be_set(start_broker: StartBroker, connect: Connect) -> None:
    """An operator may choose it."""
    broker = start_broker("memory:", prefetch=1)
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client")
    put(connect(to=broker), "/queue/a", b"1", b"2")
    take(client, 1)
    assert client.silent()


@pytest.mark.parametrize("header", ["activemq.prefetchSize", "prefetch-count"])
@pytest.mark.parametrize("value", ["many", "-1", "", "1.5"])
def test_prefetch_that_is_none(connect: Connect, queue: str, header: str, value: str) -> None:
    """A prefetch that means nothing is an error, not a surprise."""
    client = connect()
    answer = client.ask("SUBSCRIBE", destination=queue, id="1", **{header: value})
    expect_error(answer, header)
    assert is_served(client)


def test_prefetch_does_not_bind_auto(connect: Connect, version: str, queue: str) -> None:
    """In mode auto nothing is ever unacknowledged, so nothing holds messages back."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    subscribe(client, queue, **{"activemq.prefetchSize": "1"})
    assert bodies(take(client, 3)) == [b"1", b"2", b"3"]


def test_subscriptions_that_came_and_went_leave_nothing(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """Ended subscriptions are forgotten: memory does not grow with them."""
    client = connect()
    cycle = (
        b"SUBSCRIBE\nid:1\nack:client\ndestination:%b\n\n\0UNSUBSCRIBE\nid:1\n\n\0" % queue.encode()
    )
    memory = []
    for _ in range(10):
        client.write(cycle * 1000)
        assert is_served(client)
        memory.append(server.memory())
    assert memory[-1] - memory[2] < 1_000_000
    put(connect(), queue, b"x")
    subscribe(client, queue)
    assert client.expect("MESSAGE").body == b"x"
