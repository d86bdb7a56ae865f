"""Scheduled delivery, by its verbs: a house whose clock is turned by hand.

At the end a machine plays random verbs beside a model that is a dict, with writes, restarts and kills at random
moments, and windows so small that everything spills.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import schedule as schedule_module
from broker.core.fanout import Service
from broker.core.message import Message, UnknownFormat
from broker.core.schedule import STORED_AS, Schedule
from broker.core.schedule import job as job_module
from broker.core.schedule import timeline as timeline_module
from broker.core.schedule.job import LAST_DUE, Job
from broker.errors import Refusal
from broker.store.memory import MemoryStore
from tests.core.house import House, next_minute

T = TypeVar("T")
NOW = 1_700_000_000_000 // 60_000 * 60_000  # a full minute
MINUTE = 60_000
QUEUE = "/queue/a"


class Clockwork(House):
    """A house with a clock that calls the schedule when it asked to be called."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        now: int = NOW,
        memory_limit: int = 1 << 20,
    ) -> None:
        super().__init__(store, memory_limit)
        self.broker.now = now
        self.schedule = self.broker.schedule
        self.schedule_number = self.broker.routes.hidden(STORED_AS)
        self.calls = 0  # of `tick`

    def add(
        self,
        body: str = "",
        delay: int = 0,
        period: int = 0,
        repeat: int = 0,
        cron: str = "",
        durable: bool = True,
        to: str = QUEUE,
    ) -> str:
        """Schedule a message; return its job's id."""
        message = self.message(body, durable)
        return self.schedule.add(to, message, delay, period, repeat, cron)

    def turn_to(self, now: int) -> None:
        """Let time pass; the schedule is called at each moment that it asked for, and not otherwise."""
        self.settle()
        while self.wakes and min(self.wakes) <= now:
            moment = min(self.wakes)
            self.wakes.remove(moment)
            self.broker.now = max(moment, self.broker.now)
            self.calls += 1
            self.schedule.tick(self.broker.now)
            self.settle()
        self.broker.now = now

    def pass_time(self, milliseconds: int) -> None:
        """Let some time pass."""
        self.turn_to(self.broker.now + milliseconds)

    def bodies(self, name: str = "a") -> list[str]:
        """Take all that waits in a queue; return it without the header that says the job."""
        consumer = self.consume(of=self.queue(name))
        self.settle()
        consumer.close()
        return [body_of(each.body) for each in consumer.got]

    def jobs_on_disk(self) -> int:
        """Return how many records of jobs the store has."""
        return len(self.store.read(self.schedule_number, 0, 0, 1 << 30, 1 << 30))

    def restarted(self, clean: bool = False, now: int = 0) -> Clockwork:
        """Return the house after a kill, or after an orderly stop."""
        if clean:
            self.settle()
            self.store.close()
        return Clockwork(self.store, now or self.broker.now)

    def browsed(self, start: int = 0, end: int = LAST_DUE) -> list[Job]:
        """Return what a browser finds."""
        found: list[Job] = []
        ends: list[int] = []
        self.schedule.browse(start, end, found.append, ends.append)
        self.settle()
        assert ends == [len(found)]
        return found

    def removed(self, remove: Callable[[Callable[[int], None]], None]) -> int:
        """Return how many jobs were removed."""
        ends: list[int] = []
        remove(ends.append)
        self.settle()
        [number] = ends
        return number


def body_of(tail: str) -> str:
    """Return what stands behind the notes on a tail."""
    return tail.rpartition("}")[2]


@pytest.fixture
def house() -> Clockwork:
    return Clockwork()


# When it comes, and how often.


@pytest.mark.parametrize("durable", [True, False])
def test_a_message_comes_at_its_moment_and_not_before(house: Clockwork, durable: bool) -> None:
    house.add("later", 1000, durable=durable)
    assert house.schedule.pending == 1
    house.pass_time(999)
    assert house.bodies() == []
    house.pass_time(1)
    assert house.bodies() == ["later"]
    house.settle()
    assert house.schedule.pending == house.jobs_on_disk() == house.in_memory() == 0


def test_a_delay_of_nothing_is_delivered_at_the_end_of_the_turn(house: Clockwork) -> None:
    house.add("at once")
    assert house.queue().waiting == 0
    house.go_on()
    assert house.bodies() == ["at once"]


def test_what_is_due_first_comes_first_and_equals_come_as_they_were_sent(house: Clockwork) -> None:
    for number in range(50):
        house.add(f"second {number}", 20, durable=number % 3 > 0)
    for number in range(50):
        house.add(f"first {number}", 10, durable=number % 3 > 0)
    house.pass_time(20)
    bodies = house.bodies()
    assert bodies == [f"{word} {n}" for word in ("first", "second") for n in range(50)]


@pytest.mark.parametrize(
    ("delay", "period", "repeat", "expected"),
    [
        (10, 0, 0, [10]),
        (0, 30, 0, [30]),  # as ActiveMQ: without a delay the period comes first
        (10, 30, 2, [10, 40, 70]),
        (0, 30, 1, [30, 60]),
        (10, 30, -1, [10, 40, 70, 100, 130]),
        (10, 0, 2, [10, 110]),  # without a period every 100 ms
    ],
)
def test_delay_period_and_repetitions(
    house: Clockwork, delay: int, period: int, repeat: int, expected: list[int]
) -> None:
    house.add("x", delay, period, repeat)
    came = []
    for moment in range(1, 140):
        house.turn_to(NOW + moment)
        came += [moment] * len(house.bodies())
    assert came == expected


def test_cron_delivers_at_every_tick(house: Clockwork) -> None:
    house.add("tick", cron="* * * * *")
    came = []
    for second in range(1, 200):
        house.turn_to(NOW + second * 1000)
        came += [second] * len(house.bodies())
    assert came == [60, 120, 180]
    assert house.schedule.pending == 1


def test_cron_with_repetitions_begins_a_series_at_every_tick(house: Clockwork) -> None:
    house.add("tick", delay=2000, period=3000, repeat=2, cron="* * * * *")
    came = []
    for second in range(1, 130):
        house.turn_to(NOW + second * 1000)
        came += [second] * len(house.bodies())
    assert came == [62, 65, 68, 122, 125, 128]


def test_a_cron_that_means_nothing_is_refused(house: Clockwork) -> None:
    def no_cron(text: str, after: int) -> int:
        raise ValueError("It reads MINUTE HOUR DAY MONTH WEEKDAY")

    schedule = Schedule(house.broker, no_cron, house.wakes.append, lambda tail, seq: tail)
    with pytest.raises(Refusal, match="Invalid schedule: whenever") as caught:
        schedule.add(QUEUE, house.message(), 0, cron="whenever")
    assert "MINUTE HOUR" in caught.value.hint
    assert schedule.pending == 0


def test_a_cron_that_has_no_next_tick_ends(house: Clockwork) -> None:
    def once(text: str, after: int) -> int:
        if after > NOW:
            raise ValueError("never again")
        return NOW + 10

    house.broker.schedule = house.schedule = Schedule(
        house.broker, once, house.wakes.append, lambda tail, seq: tail
    )
    house.add("last", cron="0 0 29 2 *")
    house.pass_time(10)
    assert house.bodies() == ["last"]
    assert house.schedule.pending == 0


def test_what_would_come_after_the_century_is_refused(house: Clockwork) -> None:
    with pytest.raises(Refusal, match="too late"):
        house.add("x", LAST_DUE)
    assert house.schedule.pending == 0


def test_a_series_that_runs_out_of_the_century_ends(house: Clockwork) -> None:
    house.broker.now = LAST_DUE - 10
    house.add("x", 5, 20, -1)
    house.pass_time(10)
    assert house.bodies() == ["x"]
    assert house.schedule.pending == 0


@pytest.mark.parametrize("late", [0, 1, 4, 30, 95])
def test_late_ticks_come_once_on_the_grid_and_none_is_lost(house: Clockwork, late: int) -> None:
    """All 1 + 3 deliveries are made, at multiples of the period, one for all that were missed."""
    house.add("x", 10, 10, 3)
    house.settle()
    house.wakes.clear()  # nobody calls
    house.broker.now += 10 + late
    house.schedule.tick(house.broker.now)
    came = [(10 + late) // 10 * 10] * len(house.bodies())
    for moment in range(11 + late, 200):
        house.turn_to(NOW + moment)
        came += [moment] * len(house.bodies())
    first = (10 + late) // 10 * 10
    assert came == [first, first + 10, first + 20, first + 30]


# What is delivered.


def test_the_copy_says_its_job_and_is_otherwise_the_message(house: Clockwork) -> None:
    message = Message(house.broker.next_seq, b"body", True, False, 7, house.broker.now + 500)
    message.mark().group = "g"
    house.broker.next_seq += 1
    id = house.schedule.add(QUEUE, message, 1000)
    house = house.restarted(clean=True)
    house.pass_time(1000)
    house.settle()
    [lane] = house.queue().lanes
    [copy] = lane.head
    assert copy.tail == repr({"scheduledJobId": id}).encode() + b"body"
    assert (copy.priority, copy.plain, copy.durable) == (7, False, True)
    assert copy.expires == house.broker.now + 500  # a lifetime begins with the delivery
    assert (copy.returns, copy.redelivered) == (0, False)
    assert copy.extra is not None
    assert copy.extra.group == "g"
    assert copy.special


def test_what_was_sent_too_late_is_not_delivered(house: Clockwork) -> None:
    message = house.message("x", expires=house.broker.now - 1)
    house.schedule.add(QUEUE, message, 10)
    house.pass_time(10)
    assert house.bodies() == []
    assert house.schedule.pending == 0


def test_copies_of_a_job_that_goes_on_have_ids_of_their_own(house: Clockwork) -> None:
    def rename(tail: bytes, seq: int) -> bytes:
        return b"renamed " + tail

    house.broker.schedule = house.schedule = Schedule(
        house.broker, next_minute, house.wakes.append, rename
    )
    house.add("x", 10, 10, 2)
    house.add("y", 5, 10, 1, cron="x")
    consumer = house.consume()
    house.pass_time(2 * MINUTE + 15)
    renamed = [each.body.startswith("renamed") for each in consumer.got]
    assert [body_of(each.body) for each in consumer.got] == ["x"] * 3 + ["y"] * 4
    assert renamed == [False, True, True, False, True, True, True]


def test_a_message_given_back_comes_as_it_was(house: Clockwork) -> None:
    message = house.message("again", expires=house.broker.now + 5000)
    message.returns = 3
    message.mark_redelivered()
    house.schedule.postpone(QUEUE, message, house.broker.now + 1000)
    house = house.restarted(clean=True)
    assert house.browsed() == []  # it is nobody's to manage
    assert house.removed(lambda done: house.schedule.remove_range(0, LAST_DUE, done)) == 0
    house.pass_time(1000)
    [lane] = house.queue().lanes
    [copy] = lane.head
    assert copy.tail == b"again"
    assert (copy.returns, copy.redelivered, copy.expires) == (3, True, NOW + 5000)


def test_a_message_for_a_topic_that_keeps_nothing_is_stored_until_then(house: Clockwork) -> None:
    house.add("news", 1000, to="/topic/t")
    house = house.restarted(clean=True)
    listener = house.consume(of=house.topic("t"))
    house.pass_time(1000)
    house.settle()
    assert [body_of(each.body) for each in listener.got] == ["news"]
    assert not house.journal
    assert house.jobs_on_disk() == 0


def test_calls_are_made_in_order_with_the_jobs(house: Clockwork) -> None:
    seen: list[str] = []
    house.add("job", 10, durable=False)
    house.schedule.call_at(NOW + 20, lambda: seen.append("second"))
    house.schedule.call_at(NOW + 10, lambda: seen.append(f"first {house.queue().waiting}"))
    assert house.schedule.pending == 3
    house.pass_time(20)
    assert seen == ["first 1", "second"]
    assert house.schedule.pending == 0


# What goes to disk.


def test_a_delivery_is_one_batch(house: Clockwork) -> None:
    house.add("x", 1000, 1000, 1)
    house.write()
    [(seq, _, _)] = house.store.read(house.schedule_number, 0, 0, 10, 1000)
    house.broker.now += 1000
    house.schedule.tick(house.broker.now)
    batch = house.begin_write()
    assert [(queue, number) for queue, _, number, _ in batch.deletes] == [
        (house.schedule_number, seq)
    ]
    assert sorted(queue for queue, *_ in batch.puts) == sorted(
        [house.schedule_number, house.queue().number]
    )
    assert len({number for _, _, number, _, _ in batch.puts}) == 2


def test_what_is_delivered_before_it_was_written_never_is(house: Clockwork) -> None:
    consumer = house.consume()
    house.add("x", 1)
    house.broker.now += 1
    house.schedule.tick(house.broker.now)
    assert len(consumer.got) == 1
    assert not house.journal


def test_what_is_not_stored_counts_as_memory(house: Clockwork) -> None:
    house.add("x" * 1000, 1000, durable=False)
    assert 1000 < house.in_memory() < 1300
    assert not house.journal
    assert house.removed(lambda done: house.schedule.remove_range(0, LAST_DUE, done)) == 1
    assert house.in_memory() == 0
    house.pass_time(1000)
    assert house.bodies() == []


def test_jobs_removed_from_memory_do_not_pile_up(
    house: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_module, "HUSKS", 10)
    house.add("stays", 5000, durable=False)
    for _ in range(100):
        id = house.add("x", 10_000, durable=False)
        assert house.removed(lambda done, id=id: house.schedule.remove(id, done)) == 1  # type: ignore[misc]
    assert house.schedule.pending == 1
    assert len(house.schedule._heap) < 30
    house.pass_time(5000)
    assert house.bodies() == ["stays"]
    assert house.in_memory() == 0


def test_a_record_of_another_version_is_not_guessed_at(house: Clockwork) -> None:
    house.add("x", 1000)
    house.settle()
    [(seq, meta, data)] = house.store.read(house.schedule_number, 0, 0, 10, 1000)
    line, _, tail = data.partition(b"\n")
    assert json.loads(line)[0] == 1
    assert tail == b"x"
    with pytest.raises(UnknownFormat, match="format 2"):
        Job.from_record(seq, meta, line.replace(b"[1,", b"[2,") + b"\n" + tail)


def test_deliveries_that_take_their_time_give_way_to_others() -> None:
    """Many for a topic with many subscribers, say."""
    house = Clockwork()
    clock = (float(number) for number in count())  # each look at it takes a second
    house.broker.outside = replace(house.broker.outside, elapsed=lambda: next(clock))
    consumer = house.consume()
    for number in range(100):
        house.add(str(number), 10)
    house.broker.now += 10
    house.schedule.tick(house.broker.now)
    rounds = [len(consumer.got)]
    while house.broker.again:
        before = len(consumer.got)
        house.broker.go_on(house.store.read)
        rounds.append(len(consumer.got) - before)
    assert sum(rounds) == 100
    assert max(rounds) <= schedule_module.FEW


# After a restart.


@pytest.mark.parametrize("clean", [True, False])
def test_what_was_due_meanwhile_comes_in_order_in_goes(clean: bool) -> None:
    house = Clockwork()
    for number in range(3000):
        house.add(str(number), 3000 - number)
    house.settle()
    house = house.restarted(clean, NOW + 2500)
    assert house.schedule.pending == 3000
    [moment] = house.wakes
    assert moment <= house.broker.now  # to be looked at without delay
    consumer = house.consume()
    before = 0
    while house.broker.again:
        house.broker.go_on(house.store.read)
        assert len(consumer.got) - before <= schedule_module.ONE_GO
        before = len(consumer.got)
    assert [body_of(each.body) for each in consumer.got] == [
        str(number) for number in range(2999, 499, -1)
    ]
    # After a kill somebody may have had what was due; not what is still to come.
    assert all(each.redelivered is not clean for each in consumer.got)
    consumer.got.clear()
    house.pass_time(500)
    assert len(consumer.got) == 500
    assert not any(each.redelivered for each in consumer.got)


def test_a_period_that_was_missed_comes_once_and_goes_on() -> None:
    house = Clockwork()
    house.add("x", 10, 10, 5)
    house.add("tick", cron="* * * * *")
    house.settle()
    house = house.restarted(True, NOW + 10 * MINUTE + 4)
    house.turn_to(NOW + 10 * MINUTE + 9)
    assert house.bodies() == ["x", "tick"]
    house.pass_time(1)
    assert house.bodies() == ["x"]
    house.pass_time(MINUTE)
    assert house.bodies() == ["x"] * 4 + ["tick"]


def test_a_job_that_goes_on_is_not_marked_for_ever() -> None:
    house = Clockwork()
    house.add("x", 10, 10, 1)
    house.settle()
    house = house.restarted(False, NOW + 10)
    consumer = house.consume()
    house.pass_time(10)
    assert [each.redelivered for each in consumer.got] == [True, False]


def test_numbers_given_out_before_a_restart_are_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything is due at the same moment, behind the window, and each run counts from the beginning."""
    monkeypatch.setattr(timeline_module, "WINDOW", 20)
    monkeypatch.setattr(timeline_module, "ORDINAL_BITS", 1)
    house = Clockwork()
    bodies = []
    for run in range(5):
        for number in range(50):
            bodies.append(f"{run} {number}")
            house.add(bodies[-1], NOW + 100_000 - house.broker.now)
        house.settle()
        house = house.restarted(now=house.broker.now + 1)
    house.turn_to(NOW + 100_100)
    assert sorted(house.bodies()) == sorted(bodies)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("written", [True, False])
def test_a_number_is_not_used_again_in_the_batch_that_deletes_it(
    house: Clockwork, written: bool
) -> None:
    """A store puts before it deletes: the new job would be gone with the old one."""
    id = house.add("old", 100)
    house.begin_write()
    if written:
        house.end_write()
    house.schedule.remove(id, lambda found: None)
    house.go_on()
    assert house.schedule.pending == 0
    house.broker.now += 1
    house.add("new", 99)
    house.settle()
    house = house.restarted(clean=True)
    house.pass_time(99)
    assert house.bodies() == ["new"]


def test_a_millisecond_that_is_full_spills_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Clockwork()
    for module in (job_module, timeline_module):
        monkeypatch.setattr(module, "ORDINAL_BITS", 3)
    bodies = []
    for number in range(100):
        house.broker.now = NOW + number
        bodies.append(str(number))
        house.add(str(number), 1000 - number)
        if number % 10 == 0:
            house.settle()
    house.turn_to(NOW + 999)
    assert house.bodies() == []
    house.turn_to(NOW + 1000 + 2 * 100 // 8)
    assert sorted(house.bodies()) == sorted(bodies)


# In how much memory.


def test_a_million_pending_would_cost_no_more_than_a_thousand(house: Clockwork) -> None:
    for number in range(5000):
        house.add(str(number), 100_000 - number)
        if number % 500 == 0:
            house.settle()
    house.settle()
    timeline = house.schedule._stored
    assert len(timeline._head) <= timeline_module.WINDOW
    assert timeline.pending == 5000
    assert house.browsed(0, 0) == []
    assert not timeline._fresh
    house.turn_to(NOW + 100_000)
    assert house.bodies() == [str(number) for number in range(4999, -1, -1)]
    assert house.browsed(0, 0) == []
    assert not timeline._fresh
    assert not timeline._gone
    assert house.jobs_on_disk() == 0


def test_large_messages_are_kept_by_their_bytes(house: Clockwork) -> None:
    size = timeline_module.WINDOW_BYTES // 3
    for number in range(10):
        house.add(str(number) + "x" * size, 1000 + number)
    house.settle()
    assert len(house.schedule._stored._head) <= 3
    house.turn_to(NOW + 1010)
    assert [body[0] for body in house.bodies()] == list("0123456789")


def test_what_comes_and_goes_in_the_journal_leaves_nothing_in_memory(house: Clockwork) -> None:
    house.consume()
    for _ in range(100):
        house.add("x", 1)
        house.broker.now += 1
        house.schedule.tick(house.broker.now)
    assert not house.journal
    assert not house.schedule._stored._fresh
    assert not house.schedule._stored._gone


# When it must be looked at.


def test_it_is_woken_for_the_earliest_even_if_that_came_last(house: Clockwork) -> None:
    consumer = house.consume()
    for delay in (100_000, 50_000, 3000, 7, 100):
        house.add(str(delay), delay)
    for delay in (7, 100, 3000, 50_000, 100_000):
        house.turn_to(NOW + delay - 1)
        assert not consumer.got
        house.turn_to(NOW + delay)
        assert [body_of(each.body) for each in consumer.got] == [str(delay)]
        consumer.got.clear()
    assert house.wakes == []


def test_few_calls_are_arranged_however_they_come(house: Clockwork) -> None:
    """Every new one is due before all others: still not one call each."""
    for number in range(1000):
        house.add("x", 10_000_000 - number * 1000)
    assert len(house.wakes) <= 43
    house.settle()
    assert len(house.wakes) <= 43


def test_half_the_way_and_half_of_the_rest(house: Clockwork) -> None:
    house.add("x", 24 * 3600 * 1000)
    house.turn_to(NOW + 24 * 3600 * 1000)
    assert house.bodies() == ["x"]
    assert house.calls <= 27


def test_a_call_that_comes_too_early_is_repeated(house: Clockwork) -> None:
    house.add("x", 8)
    assert house.wakes == [NOW + 8]
    house.broker.now += 7  # a timer may round, and a clock may be set back
    house.wakes.clear()
    house.schedule.tick(house.broker.now)
    assert house.wakes == [NOW + 8]


def test_a_clock_set_forward_is_noticed_by_the_sweep(house: Clockwork) -> None:
    house.add("x", 100_000)
    house.settle()
    house.broker.now += 100_000
    assert house.bodies() == []
    house.broker.sweep()
    assert house.bodies() == ["x"]
    house.broker.sweep()


def test_what_is_being_written_is_waited_for(
    house: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next is on its way to the disk, behind the window, and somebody later is on disk already."""
    monkeypatch.setattr(timeline_module, "WINDOW", 2)
    for delay in (100, 200, 300, 400):
        house.add(str(delay), delay)
    house.settle()
    house.add("350", 350)
    house.begin_write()
    house.broker.now += 1000
    house.schedule.tick(house.broker.now)
    house.go_on()
    consumer = house.consume()
    house.go_on()
    assert [body_of(each.body) for each in consumer.got] == ["100", "200", "300"]
    assert house.schedule in house.broker.starving
    house.end_write()
    house.settle()
    assert [body_of(each.body) for each in consumer.got] == ["100", "200", "300", "350", "400"]


# What goes wrong.


def test_a_destination_that_is_gone_loses_its_message_alone(house: Clockwork) -> None:
    temporary = house.broker.routes.temporary("t", False)
    house.add("lost", 10, to=temporary.destination)
    house.add("too", 10, 10, 1, to=temporary.destination)
    house.add("found", 10)
    house.broker.routes.end(temporary)
    house.pass_time(30)
    assert house.bodies() == ["found"]
    assert house.schedule.dropped == 3
    assert house.schedule.pending == 0


@pytest.mark.parametrize("durable", [True, False])
def test_a_job_that_goes_on_does_not_fill_the_store(durable: bool) -> None:
    house = Clockwork(memory_limit=10_000)
    house.add("x" * 1000, 10, 10, -1, durable=durable)
    house.settle()
    if durable:
        house.journal.set_room(4000)
    for _ in range(100):
        house.broker.now += 10
        house.schedule.tick(house.broker.now)
        house.broker.go_on(house.store.read)
    assert house.schedule.dropped > 50
    assert 0 < house.queue().waiting < 20
    house.journal.set_room(house.store.room())
    house.bodies()
    house.pass_time(10)
    assert len(house.bodies()) == 1


def test_a_series_is_not_begun_where_there_is_no_room() -> None:
    house = Clockwork(memory_limit=1000)
    house.add("x" * 600, 10, 0, 0, "* * * * *", durable=False)
    house.pass_time(MINUTE)
    assert house.schedule.dropped == 1
    assert house.schedule.pending == 1


def test_the_fault_of_one_job_is_its_own(house: Clockwork) -> None:
    class Broken(Service):
        def __init__(self) -> None:
            super().__init__("broken", self.fail)

        def fail(self, message: Message) -> None:
            raise ZeroDivisionError

    house.broker.routes.services["/queue/broken"] = lambda destination: Broken()
    house.add("bad", 10, to="/queue/broken")
    house.add("good", 10)
    house.broker.now += 10
    with pytest.raises(ZeroDivisionError):
        house.schedule.tick(house.broker.now)
    assert house.bodies() == ["good"]
    assert house.schedule.pending == 0


# Who manages jobs.


def spread(house: Clockwork) -> dict[str, str]:
    """Put jobs everywhere: in memory, in the window, behind it, and some not written yet."""
    ids = {}
    for number in range(20):
        body = str(number)
        ids[body] = house.add(body, 100 * (number + 1), durable=number % 4 > 0)
        if number == 15:
            house.settle()
    return ids


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_module, "WINDOW", 4)
    monkeypatch.setattr(timeline_module, "ORDINAL_BITS", 1)  # so that many want the same number
    monkeypatch.setattr(schedule_module, "ONE_LOOK", 3)
    monkeypatch.setattr(schedule_module, "ONE_GO", 3)


@pytest.mark.usefixtures("small")
def test_a_browser_finds_all_jobs_and_takes_none(house: Clockwork) -> None:
    ids = spread(house)
    found = house.browsed()
    assert {job.tail.decode(): job.plan.id for job in found} == ids
    assert [job.tail.decode() for job in found if job.record.durable] == [
        str(number) for number in range(20) if number % 4 > 0
    ]
    assert all(job.due == NOW + 100 * (int(job.tail) + 1) for job in found)
    assert all(job.plan.destination == QUEUE for job in found)
    found = house.browsed(NOW + 300, NOW + 700)
    assert {job.tail.decode() for job in found} == {"2", "3", "4", "5", "6"}
    house.pass_time(3000)
    assert house.bodies() == [str(number) for number in range(20)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("body", ["0", "1", "3", "8", "9", "15", "16", "17", "19"])
def test_a_job_is_removed_by_its_id_wherever_it_is(house: Clockwork, body: str) -> None:
    ids = spread(house)
    assert house.removed(lambda done: house.schedule.remove(ids[body], done)) == 1
    assert house.removed(lambda done: house.schedule.remove(ids[body], done)) == 0
    house.pass_time(3000)
    assert house.bodies() == [str(number) for number in range(20) if str(number) != body]
    assert house.schedule.pending == house.jobs_on_disk() == house.in_memory() == 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("durable", [True, False])
def test_a_job_that_has_moved_is_found(house: Clockwork, durable: bool) -> None:
    for number in range(10):
        house.add(str(number), 500 + number, durable=durable)
    id = house.add("moving", 10, 10, -1, durable=durable)
    house.pass_time(25)
    ends: list[int] = []
    house.schedule.browse(0, LAST_DUE, lambda job: None, lambda found: None)
    house.schedule.remove(id, ends.append)
    while not ends:  # it goes on while it is looked for
        house.broker.now += 10
        house.broker.go_on(house.store.read)
        house.write()
    assert ends == [1]
    moved = (house.broker.now - NOW) // 10
    assert moved > 4
    house.turn_to(NOW + 1000)
    assert sorted(set(house.bodies())) == [*"0123456789", "moving"]
    house.pass_time(100)
    assert house.bodies() == []


@pytest.mark.usefixtures("small")
def test_a_range_of_jobs_is_removed(house: Clockwork) -> None:
    spread(house)
    schedule = house.schedule
    assert house.removed(lambda done: schedule.remove_range(NOW + 300, NOW + 1900, done)) == 17
    assert schedule.pending == 3
    assert house.removed(lambda done: schedule.remove_range(0, 0, done)) == 0
    house = house.restarted(clean=True)
    house.pass_time(3000)
    assert house.bodies() == ["1", "19"]  # 0 was not stored


@pytest.mark.parametrize(
    "id",
    [
        *("", "job", "job-", "job-1", "job-1-1", "1-1", "job-x-1", "job-²-1", "ID:host-1-1:1:1"),
        *(f"job-{2**62 - 1}-1", f"job-{2**62}-1", f"job-{2**63 - 1}-1", f"job-{2**63}-1"),
        *(f"job-{2**64}-1", f"job-{'9' * 5000}-1"),
    ],
)
def test_an_id_of_nobody_removes_nothing(house: Clockwork, id: str) -> None:
    house.add("x", 1000)
    house.schedule.postpone(QUEUE, house.message("y"), NOW + 1000)
    house.settle()
    if id:
        assert house.removed(lambda done: house.schedule.remove(id, done)) == 0
    assert house.schedule.pending == 2


def test_a_search_before_anything_was_scheduled_finds_nothing(house: Clockwork) -> None:
    assert house.browsed() == []
    assert house.removed(lambda done: house.schedule.remove("job-1-1", done)) == 0


@pytest.mark.usefixtures("small")
def test_searches_wait_for_one_another(house: Clockwork) -> None:
    ids = spread(house)
    ended: list[tuple[str, int]] = []
    schedule = house.schedule
    schedule.browse(0, LAST_DUE, lambda job: None, lambda found: ended.append(("all", found)))
    schedule.remove(ids["3"], lambda found: ended.append(("3", found)))
    schedule.browse(0, LAST_DUE, lambda job: None, lambda found: ended.append(("rest", found)))
    house.settle()
    assert ended == [("all", 20), ("3", 1), ("rest", 19)]


@pytest.mark.usefixtures("small")
def test_the_fault_of_a_browser_is_its_own(house: Clockwork) -> None:
    spread(house)
    house.settle()
    ends: list[int] = []

    def fail(job: Job) -> None:
        raise ZeroDivisionError

    house.schedule.browse(0, LAST_DUE, fail, ends.append)
    faults = 0
    while house.broker.again:
        try:
            house.broker.go_on(house.store.read)
        except ZeroDivisionError:
            faults += 1
    assert faults > 1
    assert ends == [20]
    house.pass_time(3000)
    assert len(house.bodies()) == 20


# Random verbs beside a model.


@dataclass(frozen=True)
class Expected:
    """What the model knows of a job."""

    due: int
    period: int
    repeat: int
    cron: bool
    durable: bool
    id: str
    suspect: bool = False


class Witness(Service):
    """A destination that stores each message and tells the machine."""

    durable = True


class Machine:
    """A schedule, a clock, and a disk that takes its time."""

    def __init__(self) -> None:
        self.number = 0
        self.pending: dict[str, Expected] = {}  # by the body
        self.delivered: list[str] = []
        self.written: tuple[dict[str, Expected], list[str]] = ({}, [])
        self.being_written = self.written
        self.house = Clockwork()
        self.open()

    def open(self) -> None:
        house = self.house
        witness = Witness("w", self.take)
        house.broker.routes.services["/queue/w"] = lambda destination: witness
        self.witness_number = house.broker.routes.hidden("\0witness")
        self.looked_at = 0  # when the store was first looked at after a kill

    def take(self, message: Message) -> None:
        """Check a delivery against the model."""
        now = self.house.broker.now
        body = body_of(message.tail.decode())
        expected = self.pending.pop(body)
        assert expected.due <= now, f"{body} comes too early"
        others = [other.due for other in self.pending.values()]
        assert not others or expected.due <= min(others), f"{body} comes before its turn"
        if expected.suspect:
            assert message.redelivered
        if message.redelivered:
            assert expected.due <= self.looked_at
        if message.durable:
            self.house.journal.put(self.witness_number, message)
        if expected.cron:
            again = next_minute("", max(now, expected.due))
            self.pending[body] = replace(expected, due=again, suspect=False)
        elif expected.repeat:
            period = expected.period
            again = expected.due + period * ((now - expected.due) // period + 1)
            left = expected.repeat - 1 if expected.repeat > 0 else -1
            self.pending[body] = replace(expected, due=again, repeat=left, suspect=False)
        if expected.durable:
            self.delivered.append(body)

    # Verbs.

    def add(self, choose: Choose) -> None:
        for _ in range(choose((1, 1, 2, 7))):
            self.number += 1
            body = str(self.number)
            durable = choose((True, True, True, False))
            delay, period = choose((0, 1, 2, 2, 5, 40)), choose((1, 1, 2, 3))
            repeat, cron = choose((0, 0, 0, 1, 2, -1)), choose((False,) * 7 + (True,))
            if cron:
                delay = repeat = 0
            due = self.house.broker.now + (delay or period)
            if cron:
                due = next_minute("", self.house.broker.now)
            id = self.house.add(
                body, delay, period, repeat, "x" if cron else "", durable, "/queue/w"
            )
            self.pending[body] = Expected(due, period, repeat, cron, durable, id)

    def remove(self, choose: Choose) -> None:
        if not self.pending:
            return
        body = choose(list(self.pending))
        self.remove_job(body)

    def remove_job(self, body: str) -> None:
        def done(found: int) -> None:
            if found:
                del self.pending[body]
            else:
                assert body not in self.pending

        self.house.schedule.remove(self.pending[body].id, done)

    def browse(self, choose: Choose) -> None:
        start = self.house.broker.now + choose((-5, 0, 1, 3))
        end = start + choose((0, 2, 5, 100))
        before = {
            body: expected.due
            for body, expected in self.pending.items()
            if start <= expected.due <= end
        }
        found: dict[str, int] = {}

        def each(job: Job) -> None:
            body = body_of(job.tail.decode())
            assert job.due == self.pending[body].due
            assert start <= job.due <= end
            assert found.get(body) != job.due, f"{body} is met twice"
            found[body] = job.due

        def done(number: int) -> None:
            assert number >= len(found)
            for body, due in before.items():
                if body in self.pending and self.pending[body].due == due:
                    assert found[body] == due

        self.house.schedule.browse(start, end, each, done)

    # Time and the disk.

    def pass_time(self, choose: Choose) -> None:
        self.house.broker.now += choose((1, 1, 1, 3, 30))

    def tick(self, choose: Choose) -> None:
        """The calls that were asked for come, sometimes late."""
        house = self.house
        while house.wakes and min(house.wakes) <= house.broker.now:
            house.wakes.remove(min(house.wakes))
            house.schedule.tick(house.broker.now)

    def sweep(self, choose: Choose) -> None:
        self.house.broker.sweep()

    def go_on(self, choose: Choose) -> None:
        self.looked_at = self.looked_at or self.house.broker.now
        self.house.broker.go_on(self.house.store.read)

    def snapshot(self) -> tuple[dict[str, Expected], list[str]]:
        stored = {body: each for body, each in self.pending.items() if each.durable}
        return stored, list(self.delivered)

    def begin_write(self, choose: Choose) -> None:
        if self.house.on_the_way is None:
            self.being_written = self.snapshot()
            self.house.begin_write()

    def end_write(self, choose: Choose) -> None:
        if self.house.on_the_way is not None:
            self.house.end_write()
            self.written = self.being_written

    def kill(self, choose: Choose) -> None:
        """The broker is killed and started again; then time has passed."""
        now = self.house.broker.now + choose((0, 1, 10))
        self.house = self.house.restarted(now=now)
        pending, self.delivered = self.written[0], list(self.written[1])
        self.pending = {
            body: replace(expected, suspect=expected.due <= now)
            for body, expected in pending.items()
        }
        self.open()
        rows = self.house.store.read(self.witness_number, 4, 0, 1 << 30, 1 << 30)
        assert [body_of(tail.decode()) for _, _, tail in rows] == self.delivered
        assert self.house.schedule.pending == self.house.jobs_on_disk() == len(self.pending)

    def end(self) -> None:
        """Whatever happened before: what remains comes in time, and nothing else remains."""
        house = self.house
        self.looked_at = self.looked_at or house.broker.now
        for body, expected in list(self.pending.items()):
            if expected.cron or expected.repeat < 0:
                self.remove_job(body)
        house.settle()
        while self.pending:
            assert house.wakes, "nobody would ever look again"
            house.turn_to(max(min(house.wakes), house.broker.now))
        house.settle()
        assert house.schedule.pending == house.jobs_on_disk() == house.in_memory() == 0
        rows = house.store.read(self.witness_number, 4, 0, 1 << 30, 1 << 30)
        assert [body_of(tail.decode()) for _, _, tail in rows] == self.delivered


class Choose:
    """Chooses one of several, as the bytes of a program say."""

    def __init__(self, program: bytes) -> None:
        self.bytes = iter(program)

    def __call__(self, pool: Sequence[T]) -> T:
        return pool[next(self.bytes, 0) % len(pool)]


STEPS = (
    *[Machine.add] * 5,
    *[Machine.pass_time] * 4,
    *[Machine.tick] * 3,
    *[Machine.go_on] * 5,
    *[Machine.begin_write, Machine.end_write] * 4,
    Machine.remove,
    Machine.browse,
    Machine.sweep,
    Machine.kill,
)


@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(program=st.binary(min_size=200, max_size=500))
def test_each_comes_once_in_time_in_order_whatever_happens(small: None, program: bytes) -> None:
    choose = Choose(program)
    machine = Machine()
    for byte in choose.bytes:
        step = STEPS[byte % len(STEPS)]
        note(step.__name__)
        step(machine, choose)
    machine.end()
