"""`*` is one element of a name, `>` the rest of it: consumers of whatever queues or topics have such names."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.durability.house import Client as InHouse
from tests.durability.house import House
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

KINDS = ("queue", "topic")
NAMES = ("", ".a", ".b", ".a.b", ".a.b.c", "x")  # behind a name that nobody else uses


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, queue: str, topic: str) -> str:
    """Run the test for queues and for topics."""
    return queue if request.param == "queue" else topic


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("{}.*", {".a", ".b"}),
        ("{}.>", {"", ".a", ".b", ".a.b", ".a.b.c"}),
        ("{}.a.*", {".a.b"}),
        ("{}.*.b", {".a.b"}),
        ("{}.*.*", {".a.b"}),
        ("{}.*.>", {".a", ".b", ".a.b", ".a.b.c"}),
        ("{}.a.>", {".a", ".a.b", ".a.b.c"}),
        ("{}.c.>", set()),
        ("{}.a*", set()),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_pattern_means(
    connect: Connect, base: str, pattern: str, meant: set[str], when: str
) -> None:
    """Whether the queues are there or made later; each message says where it was sent."""
    client, sender = connect(), connect()
    is_topic = base.startswith("/topic/")
    if when == "before" and not is_topic:
        for name in NAMES:
            put(sender, base + name, name.encode())
    subscribe(client, pattern.format(base))
    if when == "after" or is_topic:
        for name in NAMES:
            put(sender, base + name, name.encode())
    got = take(client, len(meant))
    assert client.silent()
    assert {each.headers["destination"] for each in got} == {base + name for name in meant}
    assert all(each.headers["destination"] == base + each.body.decode() for each in got)
    assert all(each.headers["subscription"] == "s" for each in got)


@pytest.mark.parametrize(
    "name",
    [
        "/a/b//c",
        ".a..b.",
        ".ünï.cødé.😀",
        " a blank",
        ":colons:",
        r"\back\slash",
        "/queue/twice",
        "=b&c=%2F#d",
        ".A",
        "." + "x" * 200,
    ],
)
def test_names_of_all_kinds(connect: Connect, base: str, name: str, version: str) -> None:
    """A name is what stands there, case and all; only dots have a meaning, for patterns."""
    client, other = connect(version), connect()
    subscribe(client, base + name)
    subscribe(other, f"{base}.>", selector="mark = 'no such'")
    for destination in (base + name, base + name.swapcase() + "x"):
        client.send("SEND", b"x", destination=destination)
    client.expect("MESSAGE", destination=base + name)
    assert is_served(client)


def test_in_every_version(connect: Connect, version: str, base: str) -> None:
    client = connect(version)
    subscribe(client, f"{base}.>", ack="client")
    for name in (".ä:b", ".c"):
        client.send("SEND", b"x", destination=base + name)
        accepted(ack(client, client.expect("MESSAGE", destination=base + name)))


def test_a_send_needs_one_destination(connect: Connect, base: str, version: str) -> None:
    client = connect(version)
    for name in (".*", ".>", ".*.a"):
        expect_error(client.ask("SEND", destination=base + name), "Illegal destination name")
    put(client, f"{base}.a*", b"a star in an element has no meaning")
    assert is_served(client)


def test_several_patterns_and_names_in_one_subscription(connect: Connect, base: str) -> None:
    """Each works on, also for what is made later, and a message comes once however many mean it."""
    client = connect()
    subscribe(client, f"{base}.a.*,{base}.b.*,{base}.c,{base}.a.x,{base}.a.>")
    for name in (".a.x", ".b.x", ".c", ".a.y", ".b.y", ".a.x"):
        client.send("SEND", name.encode(), destination=base + name)
        client.expect("MESSAGE", destination=base + name)
    client.send("SEND", b"x", destination=f"{base}.d")
    assert client.silent()


def test_queues_and_topics_in_one_subscription(connect: Connect, queue: str, topic: str) -> None:
    client = connect()
    subscribe(client, f"{queue}.*,{topic}.*", ack="client")
    messages = []
    for destination in (f"{queue}.a", f"{topic}.a", f"{queue}.b", f"{topic}.b"):
        client.send("SEND", b"x", destination=destination)
        messages.append(client.expect("MESSAGE", destination=destination))
    accepted(ack(client, messages[-1]))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(), f"{queue}.a") == drain(connect(), f"{queue}.b") == []


def test_after_unsubscribe_nothing_more_comes(connect: Connect, base: str) -> None:
    client = connect()
    subscribe(client, f"{base}.*")
    client.send("SEND", b"x", destination=f"{base}.a")
    client.expect("MESSAGE")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    for name in (".a", ".b"):
        put(client, base + name, b"x")
    assert is_served(client)


def test_messages_of_a_queue_are_shared_with_its_other_consumers(
    connect: Connect, queue: str
) -> None:
    """Each gets every other one."""
    one, all_, sender = connect(), connect(), connect()
    subscribe(one, f"{queue}.a")
    subscribe(all_, f"{queue}.*")
    put(sender, f"{queue}.a", *(b"%d" % number for number in range(6)))
    assert sorted(bodies(take(one, 3)) + bodies(take(all_, 3))) == [b"%d" % n for n in range(6)]


def test_a_selector_chooses_from_all_of_them(connect: Connect, base: str) -> None:
    client, sender = connect(), connect()
    subscribe(client, f"{base}.*,{base}.x.>", selector="size > 3")
    for name in (".a", ".x.y"):
        for size in ("2", "4"):
            put(sender, base + name, size.encode(), size=size)
    assert bodies(take(client, 2)) == [b"4", b"4"]
    if base.startswith("/queue/"):
        assert drain(connect(), f"{base}.a") == [b"2"]


# --- acknowledgements and prefetch ------------------------------------------------------------------


def fill(client: Client, queue: str, count: int = 4) -> None:
    """Put messages into two queues, which say where they are."""
    for name in ("a", "b"):
        put(client, f"{queue}.{name}", *(f"{name}{n}".encode() for n in range(1, count + 1)))


def test_the_queues_share_one_prefetch(connect: Connect, queue: str) -> None:
    client = connect()
    fill(client, queue)
    subscribe(client, f"{queue}.*", **{"ack": "client-individual", "activemq.prefetchSize": "3"})
    first = take(client, 3)
    assert client.silent()
    client.send("ACK", id_=first[1].headers["ack"])
    client.expect("MESSAGE")
    assert client.silent()


def test_no_queue_starves_another(connect: Connect, queue: str) -> None:
    """With room for one message at a time they are served in turn."""
    client = connect()
    fill(client, queue)
    subscribe(client, f"{queue}.*", **{"ack": "client-individual", "activemq.prefetchSize": "1"})
    got = []
    for _ in range(8):
        message = client.expect("MESSAGE")
        got.append(message.body)
        client.send("ACK", id_=message.headers["ack"])
    assert got == [b"a1", b"b1", b"a2", b"b2", b"a3", b"b3", b"a4", b"b4"]


def test_one_ack_stands_for_all_before_it_in_all_queues(
    connect: Connect, queue: str, version: str
) -> None:
    client = connect(version)
    fill(client, queue, 2)
    subscribe(client, f"{queue}.*", ack="client")
    messages = take(client, 4)
    accepted(ack(client, messages[2]))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    left = drain(connect(), f"{queue}.a") + drain(connect(), f"{queue}.b")
    assert left == [messages[3].body]


def test_a_disconnect_gives_each_back_to_its_queue(connect: Connect, queue: str) -> None:
    """To its place."""
    client = connect()
    fill(client, queue, 3)
    subscribe(client, f"{queue}.*", ack="client-individual")
    messages = take(client, 6)
    for message in messages:
        if message.body in (b"a2", b"b1"):
            accepted(ack(client, message))
    accepted(client.ask("DISCONNECT"))
    for name, left in (("a", [b"a1", b"a3"]), ("b", [b"b2", b"b3"])):
        heir = connect()
        subscribe(heir, f"{queue}.{name}")
        again = take(heir, 2)
        assert bodies(again) == left
        assert all(each.headers["redelivered"] == "true" for each in again)


def test_a_client_that_dies_counts_against_the_oldest_message_only(
    connect: Connect, queue: str
) -> None:
    """Whichever queue it is from."""
    client = connect("1.1")
    fill(client, queue, 1)
    subscribe(client, f"{queue}.*", ack="client")
    first, second = take(client, 2)
    client.close()
    heir = connect()
    subscribe(heir, f"{queue}.*")
    again = {message.body: message for message in take(heir, 2)}
    assert again[first.body].headers["JMSXDeliveryCount"] == "2"
    assert "JMSXDeliveryCount" not in again[second.body].headers


def test_acknowledged_in_a_transaction(connect: Connect, queue: str, version: str) -> None:
    """COMMIT ends messages in all queues, ABORT in none."""
    client = connect(version)
    fill(client, queue, 2)
    subscribe(client, f"{queue}.*", ack="client")
    messages = take(client, 4)
    for how, last in (("ABORT", messages[3]), ("COMMIT", messages[1])):
        client.send("BEGIN", transaction="t")
        accepted(ack(client, last, transaction="t"))
        accepted(client.ask(how, transaction="t"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    left = drain(connect(), f"{queue}.a") + drain(connect(), f"{queue}.b")
    assert sorted(left) == sorted(bodies(messages[2:]))


def test_what_is_refused_is_a_dead_letter_of_its_queue(
    connect: Connect, queue: str, later_version: str
) -> None:
    client = connect(later_version)
    subscribe(client, f"{queue}.*", ack="client")
    client.send("SEND", b"poison", destination=f"{queue}.a", mark=queue)
    accepted(nack(client, client.expect("MESSAGE")))
    subscribe(client, "/queue/ActiveMQ.DLQ", id="dead", selector=f"mark = '{queue}'")
    letter = client.expect("MESSAGE", destination="/queue/ActiveMQ.DLQ")
    assert letter.headers["original-destination"] == f"{queue}.a"


def test_what_is_given_back_comes_again_with_its_destination(
    connect: Connect, base: str, later_version: str
) -> None:
    client = connect(later_version)
    subscribe(client, f"{base}.*", ack="client")
    client.send("SEND", b"x", destination=f"{base}.a")
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), requeue="true")
    again = client.expect("MESSAGE", destination=f"{base}.a", redelivered="true")
    accepted(ack(client, again))


def test_a_consumer_of_higher_priority_comes_first_everywhere(connect: Connect, queue: str) -> None:
    low, high, sender = connect(), connect(), connect()
    subscribe(low, f"{queue}.a")
    subscribe(high, f"{queue}.*", **{"activemq.priority": "5"})
    put(sender, f"{queue}.a", b"1", b"2")
    assert bodies(take(high, 2)) == [b"1", b"2"]
    assert is_served(low)


def test_an_exclusive_consumer_is_it_in_every_queue(connect: Connect, queue: str) -> None:
    alone, other, sender = connect(), connect(), connect()
    subscribe(alone, f"{queue}.*", **{"activemq.exclusive": "true"})
    subscribe(other, f"{queue}.a")
    put(sender, f"{queue}.a", b"1", b"2")
    assert bodies(take(alone, 2)) == [b"1", b"2"]
    assert is_served(other)


# --- what an operator, or the house, has to say -------------------------------------------------------


def test_only_one_queue_can_be_browsed(connect: Connect, base: str) -> None:
    client = connect()
    for destination in (f"{base}.*", f"{base}.a,{base}.b"):
        answer = client.ask("SUBSCRIBE", destination=destination, id="s", browser="true")
        expect_error(answer, "Only a queue can be browsed")
    assert is_served(client)


def test_a_policy_gives_wildcard_consumers_their_prefetch(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Of several destinations the least counts; what a client asks for comes first."""
    broker = start_broker(
        "memory:", **{'destination."orders.>".prefetch': 3, 'destination."orders.eu.>".prefetch': 2}
    )
    client = connect(to=broker)
    for name in ("orders.eu.x", "orders.us"):
        put(client, f"/queue/{name}", *[b"x"] * 5)
    for destination, asked, got in (
        ("/queue/orders.>", {}, 3),
        ("/queue/orders.eu.*", {}, 2),
        ("/queue/orders.us,/queue/orders.eu.x", {}, 2),
        ("/queue/orders.>", {"activemq.prefetchSize": "4"}, 4),
    ):
        subscribe(client, destination, ack="client", **asked)
        take(client, got)
        assert client.silent()
        accepted(client.ask("UNSUBSCRIBE", id="s"))


def test_a_pattern_that_is_too_long_leaves_nothing(connect: Connect, base: str) -> None:
    """Not even the rest of the list."""
    client = connect()
    answer = client.ask("SUBSCRIBE", destination=f"{base}.a,{base}.{'x' * 256}.*", id="s")
    expect_error(answer, "longer than 255 bytes")
    subscribe(client, f"{base}.b")
    for name in (".a", ".b"):
        client.send("SEND", name.encode(), destination=base + name)
    client.expect("MESSAGE", destination=f"{base}.b")
    assert is_served(client)


def test_a_wildcard_consumer_keeps_nothing_alive() -> None:
    """What is empty and unused goes, and comes back to the consumer when it is made anew."""
    house = House()
    routes, client, sender = house.broker.routes, InHouse(house), InHouse(house)
    client.ask("SUBSCRIBE", destination="/queue/a.*,/topic/a.*", id_="s", ack="client")
    for _ in range(3):
        for destination in ("/queue/a.b", "/topic/a.b"):
            sender.ask("SEND", b"x", destination=destination, receipt="r")
            client.ask("BEGIN", transaction="t")
            [message] = client.frames
            assert message.headers["destination"] == destination
            client.ask("ABORT", transaction="t")
            client.ask("ACK", id_=message.headers["ack"])
        house.sweep()
        assert not routes.queues
        assert not routes.topics


def test_what_it_has_not_acknowledged_stays() -> None:
    """A queue is not forgotten while a wildcard consumer holds a message of it."""
    house = House()
    client = InHouse(house)
    client.ask("SUBSCRIBE", destination="/queue/a.*", id_="s", ack="client-individual")
    assert client.ask("SEND", b"1", destination="/queue/a.b") == ["MESSAGE"]
    [first] = client.frames
    house.sweep()
    assert client.ask("SEND", b"2", destination="/queue/a.b") == ["MESSAGE"]
    client.ask("ACK", id_=first.headers["ack"])
    house.sweep()
    client.ask("UNSUBSCRIBE", id_="s")
    client.ask("SUBSCRIBE", destination="/queue/a.b", id_="s")
    assert [frame.body for frame in client.frames] == [b"2"]


def test_what_its_transaction_holds_stays() -> None:
    """Also when the consumer has gone."""
    house = House()
    client = InHouse(house)
    client.ask("SUBSCRIBE", destination="/queue/a.*", id_="s", ack="client-individual")
    client.ask("SEND", b"1", destination="/queue/a.b")
    [message] = client.frames
    client.ask("BEGIN", transaction="t")
    client.ask("ACK", id_=message.headers["ack"], transaction="t")
    client.ask("UNSUBSCRIBE", id_="s")
    house.sweep()
    client.ask("ABORT", transaction="t")
    assert client.ask("SUBSCRIBE", destination="/queue/a.*", id_="s") == ["MESSAGE"]
    house.sweep()
    assert not house.broker.routes.queues


def test_a_slow_reader_of_many_queues_goes_on() -> None:
    """Its connection is paused and resumed in the middle of all of them."""
    house = House()
    client, sender = InHouse(house), InHouse(house)
    client.ask("SUBSCRIBE", destination="/queue/a.*,/topic/a.*", id_="s")
    client.connection.unsent(2 << 20)
    for number in range(5):
        for kind in KINDS:
            sender.ask("SEND", b"x", destination=f"/{kind}/a.{number}")
    assert client.ask("BEGIN", transaction="t") == []
    client.connection.unsent(0)
    client.ask("ABORT", transaction="t")
    assert [frame.command for frame in client.frames] == ["MESSAGE"] * 10
