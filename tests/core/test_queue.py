"""A queue: who gets what, in which order, from memory or from the store."""

from __future__ import annotations

import pytest

from broker.core import lane as lane_module
from broker.core import queue as queue_module
from broker.core.policy import DEAD_LETTERS, Policies
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL
from tests.core.house import House, key

SECOND = 1000  # milliseconds


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many messages of a lane are kept in memory, in these tests."""
    monkeypatch.setattr(lane_module, "WINDOW", 10)
    return 10


def numbers(first: int, last: int) -> list[str]:
    """Return bodies, for example "1" to "9"."""
    return [str(number) for number in range(first, last + 1)]


# --- what goes to disk ----------------------------------------------------------------------------


def test_a_message_that_waits_is_written(house: House) -> None:
    house.put("one")
    batch = house.write()
    assert batch.queues == [(1, "a")]
    assert [(queue, priority, seq, tail) for queue, priority, seq, _, tail in batch.puts] == [
        (1, 4, 1, b"one")
    ]
    assert batch.deletes == []


def test_a_message_for_a_consumer_in_mode_auto_is_never_written(house: House) -> None:
    consumer = house.consume()
    house.put("one", "two")
    assert consumer.bodies() == ["one", "two"]
    assert not house.journal
    assert house.journal.waiting == 0


def test_a_message_that_is_acknowledged_before_it_was_written_is_never_written(
    house: House,
) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("one")
    assert house.journal
    consumer.ack(key(1))
    assert not house.journal
    assert house.journal.waiting == 0


def test_an_acknowledgement_while_it_is_being_written_deletes_it_with_the_next_batch(
    house: House,
) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("one")
    house.begin_write()
    consumer.ack(key(1))
    house.end_write()
    assert house.on_disk(house.queue()) == [1]
    assert house.write().deletes == [(1, 4, 1, 3)]
    assert house.on_disk(house.queue()) == []


def test_what_is_not_durable_never_goes_to_disk(house: House) -> None:
    house.put("one", durable=False)
    assert not house.journal
    assert house.in_memory() == 3
    consumer = house.consume(CLIENT)
    assert house.in_memory() == 0
    house.put("two", durable=False)
    consumer.ack_all()
    assert consumer.bodies() == ["one", "two"]
    assert not house.journal


def test_a_queue_whose_messages_are_consumed_as_they_come_leaves_no_trace(house: House) -> None:
    house.consume()
    house.put("one", "two", "three")
    assert house.begin_write().queues == []


def test_a_queue_is_made_known_once(house: House) -> None:
    house.put("one")
    house.write()
    house.put("two")
    assert house.write().queues == []


# --- order ----------------------------------------------------------------------------------------


def test_first_in_first_out(house: House) -> None:
    house.put(*numbers(1, 5))
    consumer = house.consume()
    house.put(*numbers(6, 8))
    assert consumer.bodies() == numbers(1, 8)


def test_the_higher_priority_first_and_within_it_the_older(house: House) -> None:
    for priority in (4, 9, 0, 4, 9):
        house.put(f"{priority}", priority=priority)
    consumer = house.consume()
    assert [(delivery.priority, delivery.seq) for delivery in consumer.got] == [
        (9, 2),
        (9, 5),
        (4, 1),
        (4, 4),
        (0, 3),
    ]


def test_one_message_to_one_consumer_in_turn(house: House) -> None:
    consumers = [house.consume(CLIENT, 100) for _ in range(3)]
    house.put(*numbers(1, 7))
    assert [consumer.bodies() for consumer in consumers] == [
        ["1", "4", "7"],
        ["2", "5"],
        ["3", "6"],
    ]


def test_who_has_no_credit_is_passed_over_and_comes_back_at_the_end_of_the_line(
    house: House,
) -> None:
    first, second = house.consume(CLIENT_INDIVIDUAL, 1), house.consume(CLIENT_INDIVIDUAL, 9)
    house.put("1", "2", "3")
    assert (first.bodies(), second.bodies()) == (["1"], ["2", "3"])
    first.ack(key(1))
    house.put("4", "5", "6")
    assert (first.bodies(), second.bodies()) == (["5"], ["4", "6"])


def test_nobody_holds_more_than_the_prefetch(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, 2)
    house.put(*numbers(1, 5))
    assert consumer.bodies() == ["1", "2"]
    consumer.ack(key(2))
    assert consumer.bodies() == ["3"]
    consumer.ack(key(1))
    consumer.ack(key(3))
    assert consumer.bodies() == ["4", "5"]


def test_the_prefetch_does_not_bind_mode_auto(house: House) -> None:
    consumer = house.consume(AUTO, 1)
    house.put(*numbers(1, 5))
    assert consumer.bodies() == numbers(1, 5)


def test_a_paused_consumer_gets_nothing_until_it_resumes(house: House) -> None:
    paused, other = house.consume(CLIENT), house.consume(CLIENT)
    paused.pause()
    house.put("1", "2")
    assert (paused.bodies(), other.bodies()) == ([], ["1", "2"])
    other.pause()
    house.put("3", "4")
    paused.resume()
    assert (paused.bodies(), other.bodies()) == (["3", "4"], [])
    other.resume()
    assert other.bodies() == []


def test_credit_that_comes_during_a_pause_is_used_after_it(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, 1)
    house.put("1", "2")
    consumer.pause()
    consumer.ack(key(1))
    assert consumer.bodies() == ["1"]
    consumer.resume()
    assert consumer.bodies() == ["2"]


def test_others_get_their_turn_in_a_long_queue(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "ONE_GO", 3)
    house.put(*numbers(1, 5), durable=False)
    consumer = house.consume()
    assert consumer.bodies() == numbers(1, 3)
    assert list(house.broker.again) == [house.queue()]
    house.go_on()
    assert consumer.bodies() == ["4", "5"]


# --- giving back ----------------------------------------------------------------------------------


def test_what_a_consumer_leaves_goes_back_to_its_place_and_is_marked(house: House) -> None:
    first = house.consume(CLIENT_INDIVIDUAL, 3)
    house.put(*numbers(1, 5))
    first.ack(key(2))
    first.close()
    second = house.consume()
    assert [(delivery.body, delivery.redelivered) for delivery in second.got] == [
        ("1", True),
        ("3", True),
        ("4", True),
        ("5", False),
    ]


def test_what_is_given_back_keeps_its_priority(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("low", priority=1)
    house.put("high", priority=8)
    consumer.close()
    house.put("new and low", priority=1)
    house.put("new and high", priority=8)
    assert house.consume().bodies() == ["high", "new and high", "low", "new and low"]


def test_consumers_of_one_connection_give_back_before_others_are_served(house: House) -> None:
    gone = [house.consume(CLIENT_INDIVIDUAL, 2) for _ in range(2)]
    house.put(*numbers(1, 4))
    stays = house.consume(CLIENT_INDIVIDUAL)
    for consumer in gone:
        consumer.stop()
    for consumer in gone:
        consumer.close()
    house.go_on()
    assert stays.bodies() == numbers(1, 4)


def test_the_mark_survives_a_restart(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("1", "2")
    house.write()
    consumer.nack(key(2), True)
    consumer.close()
    house.settle()
    house.store.close()
    again = House(house.store)
    late = again.consume()
    again.go_on()
    assert [(each.body, each.redelivered) for each in late.got] == [("1", True), ("2", True)]


def test_what_a_crash_left_in_doubt_remains_so_after_an_orderly_stop(house: House) -> None:
    house.put("1")
    house.settle()
    after_the_crash = House(house.store)
    after_the_crash.put("2")
    after_the_crash.settle()
    house.store.close()
    again = House(house.store)
    late = again.consume()
    again.go_on()
    assert [(each.body, each.redelivered) for each in late.got] == [("1", True), ("2", False)]


def test_after_a_crash_every_message_is_suspect(house: House) -> None:
    house.put("1")
    house.settle()
    again = House(house.store)
    again.put("2")
    late = again.consume()
    again.settle()
    assert [(each.body, each.redelivered) for each in late.got] == [("1", True), ("2", False)]


def test_after_an_orderly_end_none_is(house: House) -> None:
    house.put("1")
    house.settle()
    house.store.close()
    again = House(house.store)
    late = again.consume()
    again.go_on()
    assert [(each.body, each.redelivered) for each in late.got] == [("1", False)]


# --- refusing -------------------------------------------------------------------------------------


def test_a_refused_message_is_a_dead_letter_that_says_where_it_came_from(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("bad", priority=7)
    consumer.nack(key(1), False)
    [letter] = house.consume(of=house.queue(DEAD_LETTERS)).got
    assert letter.body.endswith("bad")
    assert "'original-destination': '/queue/a'" in letter.body
    assert letter.priority == 7
    assert not letter.redelivered
    house.settle()
    assert house.on_disk(house.queue()) == []


def test_a_dead_letter_is_written_in_the_batch_that_deletes_the_original(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("bad")
    house.write()
    consumer.nack(key(1), False)
    batch = house.write()
    assert len(batch.puts) == len(batch.deletes) == 1


def test_only_durable_messages_become_dead_letters(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("bad", durable=False)
    consumer.nack(key(1), False)
    assert house.queue(DEAD_LETTERS).waiting == 0
    assert not house.journal


def test_a_dead_letter_that_is_refused_is_gone(house: House) -> None:
    house.put("bad", to=house.queue(DEAD_LETTERS))
    undertaker = house.consume(CLIENT_INDIVIDUAL, of=house.queue(DEAD_LETTERS))
    undertaker.nack(key(1), False)
    assert house.queue(DEAD_LETTERS).waiting == 0
    assert not house.journal


def test_a_message_may_be_given_back_so_often(house: House) -> None:
    house = House(max_redeliveries=2)
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("bad")
    for _ in range(3):
        house.go_on()
        assert consumer.bodies() == ["bad"]
        consumer.nack(key(1), True)
    house.go_on()
    assert consumer.bodies() == []
    assert house.queue(DEAD_LETTERS).waiting == 1


def test_how_often_survives_a_restart(house: House) -> None:
    house = House(max_redeliveries=2)
    consumer = house.consume(CLIENT_INDIVIDUAL, 1)
    house.put("bad")
    consumer.nack(key(1), True)
    consumer.nack(key(1), True)
    consumer.close()
    house.settle()
    again = House(house.store, max_redeliveries=2)
    late = again.consume(CLIENT_INDIVIDUAL, 1)
    again.go_on()
    late.nack(key(1), True)
    assert again.queue(DEAD_LETTERS).waiting == 1


def test_a_message_given_back_comes_before_the_next(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, 1)
    house.put("1", "2")
    consumer.nack(key(1), True)
    assert consumer.bodies() == ["1", "1"]


# --- the window -----------------------------------------------------------------------------------


def test_what_does_not_fit_the_window_waits_in_the_store(house: House, window: int) -> None:
    house.put(*numbers(1, 25))
    house.write()
    lane = house.queue().lanes[0]
    assert (len(lane.head), lane.behind) == (window, 15)
    consumer = house.consume()
    assert consumer.bodies() == numbers(1, 10)
    house.go_on()
    assert consumer.bodies() == numbers(11, 25)
    assert (len(lane.head), lane.behind, lane.bytes, house.queue().waiting) == (0, 0, 0, 0)
    house.settle()
    assert house.on_disk(house.queue()) == []


def test_the_window_counts_bytes_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WINDOW_BYTES", 100)
    house.put(*["x" * 60] * 4)
    house.write()
    lane = house.queue().lanes[0]
    assert (len(lane.head), lane.behind) == (2, 2)
    consumer = house.consume(CLIENT_INDIVIDUAL, 2)
    house.go_on()
    assert len(lane.head) + lane.behind == 2
    consumer.ack_all()
    house.go_on()
    assert [each.seq for each in consumer.got] == [1, 2, 3, 4]


def test_a_window_is_filled_when_it_is_half_empty(house: House, window: int) -> None:
    house.put(*numbers(1, 25))
    house.write()
    consumer = house.consume(CLIENT_INDIVIDUAL, 5)
    lane = house.queue().lanes[0]
    house.go_on()
    assert len(lane.head) == 5
    consumer.ack(key(1))
    house.go_on()
    assert len(lane.head) == window


def test_what_is_not_committed_yet_is_waited_for_without_asking_in_vain(
    house: House, window: int
) -> None:
    house.put(*numbers(1, 10))
    house.write()
    house.put(*numbers(11, 20))
    house.begin_write()
    house.put(*numbers(21, 25))
    consumer = house.consume()
    house.go_on()  # which would assert if it were asked for ever
    assert consumer.bodies() == numbers(1, 10)
    assert list(house.broker.starving) == [house.queue()]
    house.end_write()
    house.go_on()
    assert consumer.bodies() == numbers(11, 20)
    house.write()
    house.go_on()
    assert consumer.bodies() == numbers(21, 25)
    assert house.queue().waiting == 0


def test_a_higher_priority_passes_those_that_are_waited_for(house: House, window: int) -> None:
    house.put(*numbers(1, 12))
    house.begin_write()
    consumer = house.consume()
    house.go_on()
    assert consumer.bodies() == numbers(1, 10)
    house.put("urgent", priority=9)
    assert consumer.bodies() == ["urgent"]
    house.put("not urgent", priority=1)
    house.end_write()
    house.go_on()
    assert consumer.bodies() == ["11", "12", "not urgent"]


def test_volatile_messages_wait_for_their_place_among_stored_ones(
    house: House, window: int
) -> None:
    for number in range(1, 31):
        house.put(str(number), durable=number % 3 != 0)
    house.write()
    consumer = house.consume()
    house.go_on()
    assert consumer.bodies() == numbers(1, 30)
    assert house.in_memory() == 0


@pytest.mark.parametrize("durable", [True, False])
def test_messages_in_flight_are_not_read_a_second_time(
    house: House, window: int, durable: bool
) -> None:
    """They were handed over without ever having waited, so no window has seen them."""
    first = house.consume(CLIENT_INDIVIDUAL, 10)
    house.put(*numbers(1, 10))
    house.put(*numbers(11, 20), durable=durable)
    house.put(*numbers(21, 40))
    house.write()
    second = house.consume()
    house.go_on()
    assert second.bodies() == numbers(11, 40)
    assert first.bodies() == numbers(1, 10)


def test_a_window_given_back_is_not_read_a_second_time(house: House, window: int) -> None:
    first = house.consume(CLIENT_INDIVIDUAL, 10)
    house.put(*numbers(1, 10))
    house.write()
    first.close()
    house.put(*numbers(11, 30))
    house.write()
    second = house.consume()
    house.go_on()
    assert second.bodies() == numbers(1, 30)


def test_a_backlog_of_another_life_is_read_from_its_beginning(house: House, window: int) -> None:
    house.put(*numbers(1, 30))
    house.put(*numbers(31, 35), priority=9)
    house.settle()
    again = House(house.store)
    assert again.queue().waiting == 35
    assert again.queue().lanes[0].head == again.queue().lanes[1].head
    again.put("36")
    consumer = again.consume()
    again.settle()
    assert consumer.bodies() == [*numbers(31, 35), *numbers(1, 30), "36"]
    assert again.on_disk(again.queue()) == []


# --- expiry ---------------------------------------------------------------------------------------


def test_what_has_expired_is_not_delivered(house: House) -> None:
    house.put("1", expires=5 * SECOND)
    house.put("2")
    house.put("3", expires=7 * SECOND)
    house.broker.now = 6 * SECOND
    consumer = house.consume()
    assert consumer.bodies() == ["2", "3"]
    house.settle()
    assert house.on_disk(house.queue()) == []


def test_a_moment_is_over_when_it_is_reached(house: House) -> None:
    house.put("1", expires=5 * SECOND)
    house.broker.now = 5 * SECOND
    assert house.consume().bodies() == []


def test_a_sweep_drops_what_expired_in_memory(house: House) -> None:
    house.put("1", expires=5 * SECOND)
    house.put("2", durable=False, expires=5 * SECOND)
    house.put("3")
    house.settle()
    house.broker.now = 6 * SECOND
    house.broker.sweep()
    house.go_on()
    assert house.queue().waiting == 1
    assert house.in_memory() == 0
    house.settle()
    assert house.on_disk(house.queue()) == [3]


def test_a_sweep_drops_what_was_given_back_and_expired_since(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("1", durable=False, expires=5 * SECOND)
    consumer.close()
    house.broker.now = 6 * SECOND
    house.broker.sweep()
    house.go_on()
    assert house.queue().waiting == 0
    assert house.in_memory() == 0


def test_what_expired_in_the_store_is_dropped_when_it_is_read(house: House, window: int) -> None:
    house.put(*numbers(1, 10))
    house.put(*numbers(11, 20), expires=5 * SECOND)
    house.put("21")
    house.settle()
    house.broker.now = 6 * SECOND
    consumer = house.consume()
    house.settle()
    assert consumer.bodies() == [*numbers(1, 10), "21"]
    assert house.on_disk(house.queue()) == []


def test_who_holds_a_message_may_finish_it_after_its_time(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("1", expires=5 * SECOND)
    house.broker.now = 6 * SECOND
    house.broker.sweep()
    consumer.ack(key(1))
    assert not house.journal


# --- what nobody is to see before it is on disk ---------------------------------------------------


def put_when_stored(house: House, *bodies: str, priority: int = 4) -> None:
    """Put messages that wait for what was done before them."""
    for body in bodies:
        house.queue().put_when_stored(house.message(body, priority=priority))


@pytest.mark.parametrize("mode", [AUTO, CLIENT])
@pytest.mark.parametrize("chooses", [False, True])
def test_nobody_is_handed_it_before_it_is_on_disk(house: House, mode: str, chooses: bool) -> None:
    consumer = house.consume(mode, wants=(lambda message: True) if chooses else None)
    put_when_stored(house, "one")
    house.go_on()
    house.begin_write()
    house.go_on()
    assert consumer.bodies() == []
    house.end_write()
    house.go_on()
    assert consumer.bodies() == ["one"]
    consumer.ack_all()
    house.settle()
    assert house.on_disk(house.queue()) == []


def test_a_consumer_that_comes_meanwhile_waits_too(house: House) -> None:
    put_when_stored(house, "one")
    house.begin_write()
    consumer = house.consume()
    house.go_on()
    assert consumer.bodies() == []
    house.end_write()
    house.go_on()
    assert consumer.bodies() == ["one"]


@pytest.mark.parametrize("chooses", [False, True])
@pytest.mark.parametrize("consumes", [False, True])
def test_it_keeps_its_place_among_others(
    house: House, window: int, chooses: bool, consumes: bool
) -> None:
    """Also where more waits than is kept in memory, and where a consumer takes a few at a time."""
    wants = (lambda message: True) if chooses else None
    consumer = house.consume(CLIENT, 3, wants=wants) if consumes else None
    expected = []
    for begin in range(0, 60, 6):
        bodies = numbers(begin, begin + 5)
        house.put(*bodies[:2])
        put_when_stored(house, bodies[2])
        house.put(bodies[3], durable=False)
        put_when_stored(house, bodies[4])
        house.put(bodies[5])
        expected += bodies
        if begin % 24 == 0:
            house.settle()
    consumer = consumer or house.consume(CLIENT, 3, wants=wants)
    house.settle()
    found = consumer.bodies()
    while consumer.in_flight:
        consumer.ack_all()
        house.settle()
        found += consumer.bodies()
    assert found == expected
    assert house.on_disk(house.queue()) == []
    assert house.in_memory() == 0


def test_what_is_more_urgent_comes_first_once_it_is_there(house: House) -> None:
    put_when_stored(house, "low", priority=1)
    put_when_stored(house, "high", priority=8)
    house.settle()
    consumer = house.consume()
    house.settle()
    assert consumer.bodies() == ["high", "low"]


def test_what_was_given_back_comes_before_it(house: House) -> None:
    consumer = house.consume(CLIENT, 1)
    house.put("one")
    put_when_stored(house, "two")
    consumer.close()
    house.settle()
    again = house.consume()
    house.settle()
    assert again.bodies() == ["one", "two"]


def test_it_is_there_after_a_restart(house: House) -> None:
    put_when_stored(house, "one")
    house.put("two")
    house.settle()
    consumer = (again := House(house.store)).consume()
    again.settle()
    assert consumer.bodies() == ["one", "two"]


def test_no_limit_refuses_it_and_the_oldest_give_way() -> None:
    house = House(policies=Policies([("a", {"max_messages": 2, "at_limit": "drop-oldest"})]))
    put_when_stored(house, *numbers(1, 5))
    assert house.queue().waiting == 5
    house.settle()
    consumer = house.consume()
    house.settle()
    assert consumer.bodies() == ["4", "5"]
