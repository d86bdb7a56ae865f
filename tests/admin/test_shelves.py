"""Messages are removed, moved and tried again: read in the journal, batch by batch."""

from __future__ import annotations

import random

import pytest

from broker.core.lane import WINDOW
from broker.core.subscription import CLIENT_INDIVIDUAL
from tests.admin.house import Staffed
from tests.durability.ways import choose_seed


@pytest.fixture
def house() -> Staffed:
    """Return a house with a queue `a`."""
    return Staffed()


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def test_what_was_not_written_yet_is_never_written(house: Staffed) -> None:
    """A PUT that waits in the journal and its removal cancel each other."""
    house.fill(house.queue(), "1", "2", "3")
    house.ask("purge", "a")
    house.go_on()
    batch = house.begin_write()
    assert (batch.puts, batch.deletes) == ([], [])


def test_an_answer_waits_for_the_disk(house: Staffed) -> None:
    house.fill(house.queue(), "1", "2", "3")
    house.settle()
    house.ask("purge", "a")
    house.go_on()
    assert house.answers() == []
    batch = house.begin_write()
    assert len(batch.deletes) == 3
    house.go_on()
    assert house.answers() == []
    house.end_write()
    house.go_on()
    assert house.answers() == [{"removed": 3}]


def test_an_answer_waits_for_its_own_batch(house: Staffed) -> None:
    """The one that is on its way when it is asked for is not enough."""
    house.fill(house.queue(), "1")
    house.settle()
    house.fill(house.queue("b"), "x")
    house.begin_write()
    house.ask("purge", "a")
    house.go_on()
    house.end_write()
    house.go_on()
    assert house.answers() == []
    assert len(house.begin_write().deletes) == 1
    house.end_write()
    house.go_on()
    assert house.answers() == [{"removed": 1}]


def test_what_only_looks_waits_for_nothing(house: Staffed) -> None:
    house.fill(house.queue(), "1")
    house.ask("queue", "a")
    house.go_on()
    assert house.answers()[0]["waiting"] == 1


def test_a_move_is_one_batch(house: Staffed) -> None:
    """Here and gone there at once, under a new number."""
    a, b = house.queue(), house.queue("b")
    house.fill(a, "1", "2")
    house.settle()
    house.ask("move", "a", "b")
    house.go_on()
    batch = house.begin_write()
    assert [(queue, priority) for queue, priority, *_ in batch.puts] == [(b.number, 4)] * 2
    assert [queue for queue, *_ in batch.deletes] == [a.number] * 2
    house.end_write()
    assert house.on_disk(a) == []
    assert len(house.on_disk(b)) == 2


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_a_deep_backlog(house: Staffed, durable: bool, written: bool) -> None:
    """More than a window: each once, in order, and nothing is remembered of it afterwards."""
    a, b = house.queue(), house.queue("b")
    house.fill(a, *numbers(3 * WINDOW), durable=durable)
    if written:
        house.settle()
    assert house.call("copy", "a", "c") == {"copied": 3 * WINDOW}
    assert house.call("move", queue="a", to="b", limit=2 * WINDOW) == {"moved": 2 * WINDOW}
    assert house.waiting(a) == numbers(WINDOW, 2 * WINDOW)
    assert house.waiting(b) == numbers(2 * WINDOW)
    assert house.call("purge", "a") == {"removed": WINDOW}
    assert house.call("purge", queue="c", selector="a = 1") == {"removed": 0}
    assert house.call("purge", "c") == {"removed": 3 * WINDOW}
    assert house.call("purge", "b") == {"removed": 2 * WINDOW}
    for queue in (a, b, house.queue("c")):
        assert (queue.waiting, house.on_disk(queue)) == (0, [])
        assert not any(lane.apart or lane.behind for lane in queue.lanes)
    assert house.broker.choosing == set()
    assert house.in_memory() == 0


def test_what_comes_meanwhile_is_not_meant(house: Staffed) -> None:
    a = house.queue()
    house.fill(a, "1")
    house.ask("purge", "a")
    house.fill(a, "2")
    house.settle_all()
    assert house.answers() == [{"removed": 2}]  # it begins at the end of the turn
    house.fill(a, *numbers(3 * WINDOW))
    house.begin_write()
    house.ask("purge", "a")
    house.go_on()  # as far as the disk is
    house.fill(a, "late")
    house.end_write()
    house.settle_all()
    assert house.answers() == [{"removed": 3 * WINDOW}]
    assert house.waiting(a) == ["late"]


def test_a_consumer_that_chooses_sees_what_is_left(house: Staffed) -> None:
    """It had passed some of what is removed, and is on its way to the rest."""
    a = house.queue()
    house.fill(a, *numbers(2 * WINDOW))
    house.settle()
    chooser = house.consume(CLIENT_INDIVIDUAL, 1, wants=lambda message: b"\n\n7" in message.tail)
    house.settle()
    assert len(chooser.bodies()) == 1
    assert house.call("purge", "a")["removed"] == 2 * WINDOW - 1
    house.fill(a, "70000")
    chooser.ack_all()
    house.settle_all()
    assert [body.rpartition("\n\n")[2][:5] for body in chooser.bodies()] == ["70000"]


def test_an_expired_message_is_not_moved(house: Staffed) -> None:
    a = house.queue()
    late = house.text("late")
    late.expires = 1
    a.put(late)
    house.fill(a, "1")
    assert house.call("copy", "a", "b") == {"copied": 1}
    assert a.waiting == 2
    assert house.call("move", "a", "b") == {"moved": 1}
    assert a.expired == 1
    assert house.waiting(house.queue("ActiveMQ.DLQ")) == ["late"]


def test_a_moved_message_begins_anew(house: Staffed) -> None:
    """Nobody has failed on it there."""
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.fill(house.queue(), "1")
    [key] = consumer.in_flight
    consumer.nack(key, requeue=True)
    consumer.close()
    house.settle()
    [before] = house.call("browse", "a")["messages"]
    assert (before["returns"], before["redelivered"]) == (1, True)
    house.call("move", "a", "b")
    [after] = house.call("browse", "b")["messages"]
    assert (after["returns"], after["redelivered"]) == (0, False)
    assert after["id"] == before["id"]


def test_a_dead_letter_is_what_it_was(house: Staffed) -> None:
    """Not persistent, with an expiry that is not over, and headers of its own."""
    letters = house.queue("ActiveMQ.DLQ")
    headers = {
        "original-destination": "/queue/a",
        "dlqDeliveryFailureCause": "refused",
        "originalExpiration": "2000000",
        "originalDeliveryMode": "NON_PERSISTENT",
        "kind": "b",
    }
    letters.put(house.text("1", True, **headers))
    assert house.call("retry") == {"retried": 1, "skipped": 0}
    [message] = house.call("browse", "a")["messages"]
    assert (message["persistent"], message["expires"]) == (False, 2_000_000)
    assert message["headers"].keys() == {"message-id", "expires", "kind"}


def test_a_full_store_stops_a_copy(house: Staffed) -> None:
    """The error tells how far it came, when that is on disk."""
    house.fill(house.queue(), *numbers(10))
    house.settle()
    house.journal.set_room(1000)
    answer = house.call("copy", "a", "b")
    assert answer["code"] == -32004
    assert "store is full" in answer["message"]
    assert answer["data"]["copied"] == len(house.on_disk(house.queue("b"))) < 10


def test_deleting_forgets_the_queue_on_disk_too(house: Staffed) -> None:
    a = house.queue()
    house.fill(a, "1", "2")
    house.settle()
    assert house.call("delete_queue", name="a", force=True) == {"removed": 2}
    assert "a" not in house.broker.routes.queues
    assert a.number not in [kept.number for kept in house.store.load().queues]
    assert house.queue().number != a.number


def test_nothing_is_lost_whatever_happens_at_once() -> None:
    """Moves back and forth, a consumer that gives back, writes that take their time: each message stays one."""
    chance = random.Random(choose_seed())
    house = Staffed()
    house.broker.max_redeliveries = -1
    a, b = house.queue(), house.queue("b")
    consumer = house.consume(CLIENT_INDIVIDUAL, 50)
    sent = 0
    done: list[str] = []
    for _ in range(300):
        what = chance.randrange(7)
        if what == 0:
            count = chance.choice((1, 10, WINDOW))
            house.fill(chance.choice((a, b)), *numbers(count, sent), durable=chance.random() < 0.8)
            sent += count
        elif what == 1:
            house.ask("move", *chance.choice((("a", "b"), ("b", "a"))))
        elif what == 2 and house.on_the_way is None:
            house.begin_write()
        elif what == 3 and house.on_the_way is not None:
            house.end_write()
        elif what == 4:
            for key in chance.sample([*consumer.in_flight], len(consumer.in_flight) // 2):
                if chance.random() < 0.5:
                    message = consumer.in_flight[key]
                    done.append(message.tail.partition(b"\n\n")[2][:-2].decode())
                    consumer.ack(key)
                else:
                    consumer.nack(key, requeue=True)
        else:
            house.broker.go_on(house.store.read)
    consumer.close()
    house.settle_all()
    house.answers()
    left = [*house.waiting(a), *house.waiting(b)]
    assert sorted(left + done, key=int) == numbers(sent)
    for queue in (a, b):
        persistent = sum(message["persistent"] for message in house.shown(queue))
        assert len(house.on_disk(queue)) == persistent
