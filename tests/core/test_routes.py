"""Destination name → queue or topic, made on first use and forgotten when nobody misses it."""

from __future__ import annotations

from functools import partial
from weakref import ref

import pytest

from broker.core import routes as routes_module
from broker.core.composite import CompositeRule
from broker.core.names import NAME_BYTES
from broker.core.queue import Queue
from broker.core.routes import Routes
from broker.core.subscription import CLIENT
from broker.core.topic import Topic, TopicQueue
from broker.errors import Refusal
from tests.core.house import Consumer, House, key


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def routes(house: House) -> Routes:
    return house.broker.routes


@pytest.mark.parametrize(
    ("destination", "kind", "name"),
    [
        ("/queue/a", Queue, "a"),
        ("/topic/a", Topic, "a"),
        ("a", Queue, "a"),
        ("/a", Queue, "/a"),
        (" /queue/a ", Queue, "a"),
        ("/queue/a/b.c d", Queue, "a/b.c d"),
        ("/queue//queue/a", Queue, "/queue/a"),
        ("/queue/ä>*", Queue, "ä>*"),
        ("/Queue/a", Queue, "/Queue/a"),
        ("/queue/" + "x" * NAME_BYTES, Queue, "x" * NAME_BYTES),
    ],
)
def test_where_a_destination_leads(
    routes: Routes, destination: str, kind: type[Queue | Topic], name: str
) -> None:
    route = routes.find(destination)
    assert type(route) is kind
    assert route.name == name
    assert routes.find(destination) is route
    assert routes.get(destination) is route


def test_several_names_may_mean_one(routes: Routes) -> None:
    assert routes.find("a") is routes.find("/queue/a") is routes.find(" /queue/a")
    assert routes.find("/queue/a") is not routes.find("/queue/A")
    assert routes.find("/queue/a") is not routes.find("/topic/a")


@pytest.mark.parametrize(
    "destination",
    [
        "",
        " ",
        "/queue/",
        "/topic/",
        "/temp-queue/a",
        "/temp-topic/a",
        "/remote-temp-queue/a",
        "/queue/" + "x" * (NAME_BYTES + 1),
        "/queue/" + "ä" * (NAME_BYTES // 2 + 1),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_and_leaves_nothing(
    routes: Routes, destination: str
) -> None:
    with pytest.raises(Refusal):
        routes.find(destination)
    assert routes.get(destination) is None
    assert not routes.queues
    assert not routes.topics


def forgotten_after_two_sweeps(house: House) -> tuple[set[str], set[str]]:
    """Return the names of queues and topics that are there after two sweeps."""
    house.broker.sweep()
    house.broker.sweep()
    return set(house.broker.routes.queues), set(house.broker.routes.topics)


def test_what_is_idle_at_two_sweeps_is_forgotten(house: House) -> None:
    for name in ("/queue/idle", "idle", "/topic/idle"):
        house.broker.routes.find(name)
    house.broker.sweep()
    assert set(house.broker.routes.queues) == set(house.broker.routes.topics) == {"idle"}
    changes = house.broker.routes.changes
    house.broker.sweep()
    assert not house.broker.routes.queues
    assert not house.broker.routes.topics
    assert house.broker.routes.get("idle") is None
    assert house.broker.routes.changes > changes


def test_messages_consumers_and_debts_keep_it(house: House) -> None:
    house.put("waits", to=house.queue("with a message"))
    house.consume(of=house.queue("with a consumer"))
    house.consume(of=house.topic("with a consumer"))
    assert forgotten_after_two_sweeps(house) == (
        {"with a message", "with a consumer"},
        {"with a consumer"},
    )


def test_a_queue_that_is_forgotten_is_forgotten_on_disk(house: House) -> None:
    house.put("1")
    house.settle()
    consumer = house.consume()
    consumer.close()
    house.settle()
    assert [queue.name for queue in house.store.load().queues] == ["a"]
    forgotten_after_two_sweeps(house)
    assert house.journal
    assert house.write().dropped == [1]
    assert house.store.load().queues == []


def test_a_queue_that_the_disk_never_knew_is_forgotten_without_a_write(house: House) -> None:
    house.queue("a")
    forgotten_after_two_sweeps(house)
    assert not house.journal


def test_it_may_come_back_in_the_same_batch_under_another_number(house: House) -> None:
    house.put("1")
    house.settle()
    consumer = house.consume(CLIENT)
    consumer.ack(key(1))
    consumer.close()
    house.settle()
    forgotten_after_two_sweeps(house)
    house.put("2")
    batch = house.write()
    assert batch.dropped == [1]
    assert batch.queues == [(2, "a")]
    again = House(house.store)
    late = again.consume()
    again.settle()
    assert late.bodies() == ["2"]


def test_numbers_of_another_life_are_not_given_twice(house: House) -> None:
    house.put("1", to=house.queue("a"))
    house.put("1", to=house.queue("b"))
    house.settle()
    again = House(house.store)
    assert again.queue("a").number != again.queue("c").number
    assert sorted(again.queue(name).number for name in "abc") == [1, 2, 3]


# --- several destinations -----------------------------------------------------------------------------


def waiting(house: House) -> dict[str, int]:
    """Return how many messages wait in each queue that has any."""
    return {
        queue.name: queue.waiting for queue in house.broker.routes.queues.values() if queue.waiting
    }


def compose(house: House, *rules: CompositeRule) -> None:
    house.broker.routes.compose(rules)


def test_a_list_is_all_of_them(house: House) -> None:
    route = house.broker.routes.find("/queue/a,b,/topic/t")
    assert route.durable
    assert route.copies == 3
    assert not route.common
    route.put(house.message("x"))
    assert waiting(house) == {"a": 1, "b": 1}
    assert house.broker.routes.find("/topic/s,/topic/t").durable is False


def test_each_copy_is_a_message_of_its_own(house: House) -> None:
    """And only what is stored is durable."""
    consumers = [house.consume(CLIENT, of=of) for of in (house.queue("a"), house.topic("t"))]
    house.broker.routes.find("/queue/a,/topic/t").put(house.message("x"))
    one, two = (next(iter(consumer.in_flight.values())) for consumer in consumers)
    assert one.seq != two.seq
    assert (one.durable, two.durable) == (True, False)


def test_a_composite_has_a_filter_for_each(house: House) -> None:
    """`make_filter` of this house: what the body contains."""
    compose(house, CompositeRule("/queue/c", ("/queue/a", "/queue/b"), filters={"/queue/b": "yes"}))
    for body in ("yes", "no"):
        house.broker.routes.find("/queue/c").put(house.message(body))
    assert waiting(house) == {"a": 2, "b": 1}


@pytest.mark.parametrize("forward_only", [True, False])
def test_a_composite_keeps_one_or_none(house: House, forward_only: bool) -> None:
    compose(house, CompositeRule("/queue/c", ("/queue/a",), forward_only))
    for destination in ("/queue/c", "c", " c "):
        house.broker.routes.find(destination).put(house.message("x"))
    assert waiting(house) == {"a": 3} | ({} if forward_only else {"c": 3})


def test_a_ring_of_composites_is_refused(house: House) -> None:
    rules = [
        CompositeRule(f"/queue/{one}", (f"/queue/{other}",)) for one, other in ("ab", "bc", "ca")
    ]
    with pytest.raises(Refusal, match="leads to itself"):
        compose(house, *rules)


def test_a_composite_is_found_again_after_its_parts_were_idle(house: House) -> None:
    compose(house, CompositeRule("/queue/c", ("/queue/a",)))
    forgotten_after_two_sweeps(house)
    house.broker.routes.find("/queue/c").put(house.message("x"))
    assert waiting(house) == {"a": 1}


def test_who_is_gone_gets_nothing_of_a_commit(house: House) -> None:
    routes = house.broker.routes
    temporary = routes.temporary("t", is_topic=False)
    both, alone = f"/queue/a,{temporary.destination}", temporary.destination
    for destination in (both, alone):
        routes.find_left(destination).put(house.message("1", durable=False))
    assert temporary.enqueued == 2
    routes.end(temporary)
    for destination in (both, alone):
        with pytest.raises(Refusal):
            routes.find(destination)
        routes.find_left(destination).put(house.message("2", durable=False))
    assert waiting(house) == {"a": 2}
    assert house.in_memory() == 2


@pytest.mark.parametrize("is_topic", [False, True])
def test_who_holds_on_to_a_temporary_destination_learns_that_it_is_gone(
    house: House, is_topic: bool
) -> None:
    """Whichever function it holds; a list gives nobody anything then."""
    routes = house.broker.routes
    temporary = routes.temporary("t", is_topic)
    sender = object()
    if isinstance(temporary, Topic):
        temporary.bind(house.topic("somebody"), sender)
    puts = [
        temporary.put,
        temporary.put_from(sender),
        routes.find(temporary.destination).put_from(None),
        routes.find(f"/queue/a,{temporary.destination}").put,
        routes.find(f"/queue/a,{temporary.destination}").put_from(sender),
    ]
    routes.end(temporary)
    for put in puts:
        with pytest.raises(Refusal, match="does not exist"):
            put(house.message("x", durable=False))
    assert waiting(house) == {}
    assert house.in_memory() == 0


def test_a_name_of_a_temporary_destination_is_not_remembered(house: House) -> None:
    routes = house.broker.routes
    temporary = routes.temporary("t", is_topic=False)
    spellings = [f"{temporary.destination},a", f" {temporary.destination}"]
    for spelling in spellings:
        routes.find(spelling)
    routes.end(temporary)
    assert [routes.get(each) for each in [temporary.destination, *spellings]] == [None] * 3


def test_inventing_names_for_what_is_there_fills_no_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of what is there stay at hand."""
    monkeypatch.setattr(routes_module, "SPELLINGS", 10)
    routes = house.broker.routes
    temporary = routes.temporary("t", is_topic=True)
    spellings = [" " * blanks + "/queue/a" for blanks in range(100)]
    for spelling in spellings:
        assert routes.find(spelling) is house.queue("a")
    assert sum(routes.get(each) is not None for each in spellings) < 15
    assert routes.get(temporary.destination) is temporary


# --- wildcards ----------------------------------------------------------------------------------------


def test_whoever_roams_meets_what_is_there_and_what_comes(house: House) -> None:
    """Until it settles down, for all of its patterns."""
    routes = house.broker.routes
    met: list[str] = []
    house.queue("a.1")
    for pattern in ("a.*", "b"):
        routes.roam_queues("me", pattern, lambda queue: met.append(queue.name), bool)
    routes.roam_topics("me", "a.*", lambda topic: met.append(topic.destination))
    for name in ("a.2", "b", "c"):
        house.queue(name)
        house.topic(name)
    assert met == ["a.1", "a.2", "/topic/a.2", "b"]
    routes.settle_down("me")
    house.queue("a.3")
    house.topic("a.3")
    assert len(met) == 4


def test_topics_that_only_roamers_have_are_idle(house: House) -> None:
    routes = house.broker.routes
    own = TopicQueue(house.broker, "a.>", house.topic("x").policy, 10, tells=True)
    consumer = Consumer(own)
    own.join(consumer)
    own.feed(consumer)
    routes.roam_topics(consumer, "a.>", partial(own.bind, roams=True))
    own.bind(house.topic("named"))
    for body in ("1", "2"):
        house.put(body, to=house.topic("a.b"), durable=False)
        topic = ref(house.topic("a.b"))
        _, topics = forgotten_after_two_sweeps(house)
        assert topics == {"named"}
        assert topic() is None  # nobody holds on to it
    assert consumer.bodies() == ["1", "2"]
    own.leave(consumer)
    assert not house.topic("named").bound


def test_a_durable_message_for_a_topic_without_keepers_is_not_stored(house: House) -> None:
    """Whoever was to store it has gone since it was sent."""
    consumer = house.consume(CLIENT, of=house.topic())
    house.topic().put(house.message("x", durable=True))
    assert consumer.bodies() == ["x"]
    assert not house.journal
