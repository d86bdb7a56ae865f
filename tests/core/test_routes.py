"""Destination name → queue or topic, made on first use and forgotten when nobody misses it."""

from __future__ import annotations

import pytest

from broker.core.queue import Queue
from broker.core.routes import NAME_BYTES, Routes
from broker.core.subscription import CLIENT
from broker.core.topic import Topic
from broker.errors import Refusal
from tests.core.house import House, key


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
