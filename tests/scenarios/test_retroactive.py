"""What a topic has for those who come later, and what a slow subscriber loses: as the policy, or the client, says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from broker.core.policy import Policies
from tests.durability.house import Client as InHouse
from tests.durability.house import House
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

RETAIN = {"ActiveMQ.Retain": "true"}
RETROACTIVE = {"activemq.retroactive": "true"}

_numbers = count(1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker with a policy for each of these stories."""
    policies: dict[str, object] = {
        'destination."/topic/none.>".retain': False,
        'destination."/topic/last.>".recover_messages': 3,
        'destination."/topic/hour.>".recover_seconds': 3600,
        'destination."/topic/four.>".pending_limit': 4,
        'destination."three.>".prefetch': 3,
    }
    process = BrokerProcess("memory:", tmp_path_factory.mktemp("policies"), policies)
    yield process
    process.kill()


# --- the retained message -----------------------------------------------------------------------------


def test_a_new_subscriber_gets_the_last_retained_message(
    connect: Connect, version: str, topic: str
) -> None:
    """Which says so; those who are there get it as any other, and what is not retained is not."""
    there, late, sender = connect(version), connect(version), connect(version)
    subscribe(there, topic)
    for body, headers in ((b"1", RETAIN), (b"2", RETAIN), (b"3", {})):
        put(sender, topic, body, **headers)
    assert all("ActiveMQ.Retained" not in message.headers for message in take(there, 3))
    subscribe(late, topic)
    message = late.expect("MESSAGE", **{"ActiveMQ.Retained": "true"})
    assert message.body == b"2"
    assert message.headers["destination"] == topic
    put(sender, topic, b"4")
    assert "ActiveMQ.Retained" not in late.expect("MESSAGE").headers


def test_an_empty_one_ends_it(connect: Connect, topic: str) -> None:
    """As with ActiveMQ: a retained message without a body is the last of it."""
    client = connect()
    put(client, topic, b"1", **RETAIN)
    put(client, topic, b"", **RETAIN)
    subscribe(client, topic)
    assert is_served(client)


def test_a_wildcard_subscriber_gets_one_of_each_topic(connect: Connect, topic: str) -> None:
    client, sender = connect(), connect()
    for name in (".a", ".b", ".c.d"):
        put(sender, topic + name, name.encode(), **(RETAIN if name != ".b" else {}))
    subscribe(client, f"{topic}.>")
    got = take(client, 2)
    assert {each.headers["destination"] for each in got} == {f"{topic}.a", f"{topic}.c.d"}
    assert is_served(client)


def test_a_selector_is_asked_about_it(connect: Connect, topic: str) -> None:
    client = connect()
    put(client, topic, b"x", size="2", **RETAIN)
    subscribe(client, topic, id="no", selector="size > 3")
    subscribe(client, topic, id="yes", selector="size < 3")
    client.expect("MESSAGE", subscription="yes")
    assert is_served(client)


def test_it_is_acknowledged_and_comes_again_like_any_other(
    connect: Connect, later_version: str, topic: str
) -> None:
    client = connect(later_version)
    put(client, topic, b"x", **RETAIN)
    subscribe(client, topic, ack="client")
    first = client.expect("MESSAGE")
    client.send("BEGIN", transaction="t")
    accepted(nack(client, first, requeue="true", transaction="t"))
    client.send("COMMIT", transaction="t")
    again = client.expect("MESSAGE", redelivered="true", **{"ActiveMQ.Retained": "true"})
    accepted(ack(client, again))
    subscribe(client, topic, id="another")
    assert "redelivered" not in client.expect("MESSAGE", subscription="another").headers


def test_a_queue_retains_nothing(connect: Connect, queue: str) -> None:
    client = connect()
    put(client, queue, b"x", **RETAIN)
    subscribe(client, queue)
    assert "ActiveMQ.Retained" not in client.expect("MESSAGE").headers
    subscribe(client, queue, id="late")
    assert is_served(client)


def test_retained_in_a_transaction(connect: Connect, topic: str) -> None:
    client = connect()
    client.send("BEGIN", transaction="t")
    accepted(client.ask("SEND", b"x", destination=topic, transaction="t", **RETAIN))
    subscribe(client, topic, id="early")
    assert is_served(client)
    accepted(client.ask("UNSUBSCRIBE", id="early"))
    accepted(client.ask("COMMIT", transaction="t"))
    subscribe(client, topic, id="late")
    client.expect("MESSAGE", **{"ActiveMQ.Retained": "true"})


def test_an_operator_may_have_none(house: BrokerProcess, connect: Connect) -> None:
    client = connect(to=house)
    for name in ("none.a", "some"):
        put(client, f"/topic/{name}", b"x", **RETAIN)
    subscribe(client, "/topic/none.a", id="a")
    subscribe(client, "/topic/some", id="b")
    client.expect("MESSAGE", subscription="b")
    assert is_served(client)


def test_a_topic_with_a_retained_message_stays() -> None:
    """Until it has expired, or nobody wants it any more."""
    house = House()
    client = InHouse(house)
    for name, headers in (("a", {}), ("b", {"expires": "5000"}), ("c", {})):
        client.ask("SEND", b"x", destination=f"/topic/{name}", **RETAIN, **headers)
    client.ask("SEND", b"", destination="/topic/c", **RETAIN)
    house.sweep()
    assert house.broker.routes.topics.keys() == {"a", "b"}
    house.turn.begin(6.0, 6.0)
    house.end_turn()
    house.broker.now = 6000
    house.broker.sweep()
    house.broker.sweep()
    assert house.broker.routes.topics.keys() == {"a"}
    client.ask("SEND", b"", destination="/topic/a", **RETAIN)
    assert house.broker.memory.room == 2 * house.broker.memory.reserve


# --- retroactive subscribers --------------------------------------------------------------------------


@pytest.fixture
def remembering(house: BrokerProcess, connect: Connect) -> Client:
    """Return a client, and let topics have five messages each to remember."""
    client = connect(to=house)
    for name in ("last.a", "last.b", "hour.a", "forgetful"):
        put(client, f"/topic/{name}", *[b"%d" % number for number in range(5)])
    return client


@pytest.mark.parametrize(
    ("destination", "got"),
    [
        ("/topic/last.a", [b"2", b"3", b"4"]),
        ("/topic/last.>", [b"2", b"3", b"4"] * 2),
        ("/topic/last.a,/topic/forgetful", [b"2", b"3", b"4"]),
        ("/topic/forgetful", []),
    ],
)
def test_who_asks_for_it_gets_what_came_before(
    remembering: Client, destination: str, got: list[bytes]
) -> None:
    """In order, then what comes; others do not."""
    client = remembering
    subscribe(client, destination, id="new")
    subscribe(client, destination, id="late", **RETROACTIVE)
    messages = take(client, len(got))
    assert bodies(messages) == got
    assert {each.headers["subscription"] for each in messages} <= {"late"}
    assert all("ActiveMQ.Retained" not in each.headers for each in messages)
    assert is_served(client)


def test_for_as_long_as_the_policy_says(house: BrokerProcess, connect: Connect) -> None:
    """What came before waits for room like the rest, and is chosen from like the rest."""
    client = connect(to=house)
    for size in range(6):
        put(client, "/topic/hour.sizes", b"%d" % size, size=str(size))
    room_for_two = {"ack": "client", "activemq.prefetchSize": "2"}
    subscribe(client, "/topic/hour.sizes", selector="size > 1", **RETROACTIVE, **room_for_two)
    assert bodies(take(client, 2)) == [b"2", b"3"]
    assert client.silent()


def test_the_retained_message_comes_first(remembering: Client) -> None:
    """And once, also when it is one of the recent ones."""
    client = remembering
    put(client, "/topic/last.c", b"1", b"2")
    put(client, "/topic/last.c", b"retained", **RETAIN)
    subscribe(client, "/topic/last.c", id="1", **RETROACTIVE)
    assert bodies(take(client, 3)) == [b"1", b"2", b"retained"]
    assert is_served(client)
    accepted(client.ask("UNSUBSCRIBE", id="1"))
    put(client, "/topic/last.c", b"5", b"6", b"7")
    subscribe(client, "/topic/last.c", id="2", **RETROACTIVE)
    assert bodies(take(client, 4)) == [b"retained", b"5", b"6", b"7"]


def test_recent_messages_are_bounded_in_time_too() -> None:
    """What is too old is forgotten, and the topic with it."""
    house = House()
    house.broker.routes.policies = Policies([("/topic/hour", {"recover_seconds": 3600.0})])
    client = InHouse(house)
    client.ask("SEND", b"x", destination="/topic/hour")
    house.sweep()
    assert house.broker.routes.topics.keys() == {"hour"}
    client.ask("SUBSCRIBE", b"", destination="/topic/hour", id_="1", **RETROACTIVE)
    assert [frame.body for frame in client.frames] == [b"x"]
    client.ask("UNSUBSCRIBE", id_="1")
    house.broker.now += 3_601_000
    house.broker.sweep()
    house.broker.sweep()
    assert not house.broker.routes.topics
    assert house.broker.memory.room == 2 * house.broker.memory.reserve


# --- slow subscribers ---------------------------------------------------------------------------------

PENDING = "activemq.maximumPendingMessageLimit"


def lag(client: Client, sender: Client, topic: str, **headers: str) -> list[bytes]:
    """Take one of eleven messages at a time, and return what was not lost before the last."""
    subscribe(client, topic, ack="client-individual", **headers)
    put(sender, topic, *[b"%d" % number for number in range(10)])
    put(sender, topic, b"end")
    found = []
    while (message := client.expect("MESSAGE")).body != b"end":
        found.append(message.body)
        client.send("ACK", id_=message.headers["ack"])
    return found


def test_a_client_limits_what_may_wait_for_it(connect: Connect, topic: str) -> None:
    """When it is slow it loses the oldest; others do not."""
    slow, other, sender = connect(), connect(), connect()
    subscribe(other, topic)
    got = lag(slow, sender, topic, **{"activemq.prefetchSize": "1", PENDING: "3"})
    assert got == [b"0", b"8", b"9"]
    assert len(take(other, 11)) == 11


def test_what_several_topics_have_kept_waits_as_it_comes(connect: Connect, topic: str) -> None:
    """Topic by topic, whichever was sent first; the limit goes for it too, and what follows comes."""
    client, sender = connect(), connect()
    for name in "abccba":  # made in one order, kept in the other
        put(sender, f"{topic}.{name}", b"kept " + name.encode(), **RETAIN)
    limited = {"activemq.prefetchSize": "1", PENDING: "1"}
    subscribe(client, f"{topic}.>", ack="client-individual", **limited)
    for body in (b"kept a", b"kept c", b"new"):
        message = client.expect("MESSAGE")
        assert message.body == body
        if body == b"kept c":
            put(sender, f"{topic}.a", b"new")
        client.send("ACK", id_=message.headers["ack"])


@pytest.mark.parametrize("limit", ["-1", "0", "1000000"])
def test_it_cannot_have_more_than_the_policy(
    house: BrokerProcess, connect: Connect, limit: str
) -> None:
    """As with ActiveMQ: -1 and 0 ask for nothing."""
    slow, sender = connect(to=house), connect(to=house)
    got = lag(slow, sender, "/topic/four.a", **{"activemq.prefetchSize": "1", PENDING: limit})
    assert got == [b"0", b"7", b"8", b"9"]


def test_a_limit_that_is_no_number_is_refused(connect: Connect, topic: str) -> None:
    client = connect()
    expect_error(
        client.ask("SUBSCRIBE", destination=topic, id="s", **{PENDING: "many"}), "Invalid activemq"
    )
    assert is_served(client)


# --- how many may be unacknowledged -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "got"),
    [
        ({"activemq.prefetchSize": "2"}, 2),
        ({"prefetch-count": "2"}, 2),
        ({"credit": "2"}, 2),
        ({"credit": "2,65536"}, 2),
        ({"prefetch-count": "0"}, 9),
        ({"activemq.prefetchSize": "2", "prefetch-count": "5"}, 2),
        ({}, 3),
    ],
)
@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_the_clients_word_comes_first_then_the_policy(
    house: BrokerProcess, connect: Connect, headers: dict[str, str], got: int, kind: str
) -> None:
    """Whatever header it is said in; each ACK makes room for one more."""
    client, sender = connect(to=house), connect(to=house)
    destination = f"/{kind}/three.{next(_numbers)}"
    subscribe(client, destination, ack="client-individual", **headers)
    put(sender, destination, *[b"x"] * 9)
    messages = take(client, got)
    assert is_served(client)
    if got < 9:
        client.send("ACK", id_=messages[-1].headers["ack"])
        client.expect("MESSAGE")
        assert is_served(client)


def test_ack_auto_needs_no_credit(connect: Connect, queue: str) -> None:
    client = connect()
    put(client, queue, *[b"x"] * 9)
    subscribe(client, queue, credit="2")
    assert len(take(client, 9)) == 9


@pytest.mark.parametrize("name", ["activemq.prefetchSize", "prefetch-count", "credit"])
@pytest.mark.parametrize("value", ["-1", "many", "", "1.5"])
def test_a_prefetch_that_makes_no_sense(
    connect: Connect, queue: str, name: str, value: str
) -> None:
    client = connect()
    answer = client.ask("SUBSCRIBE", destination=queue, id="s", **{name: value})
    assert answer.command == "ERROR"
    assert name in answer.headers["message"]
    assert is_served(client)
