"""A lane: what is in memory, what is behind, and how somebody goes from place to place in it."""

from __future__ import annotations

import pytest

from broker.core import lane as lane_module
from broker.core.lane import NEVER, Lane, Read
from broker.core.message import Message

WINDOW = 10


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WINDOW", WINDOW)
    monkeypatch.setattr(lane_module, "WINDOW_BYTES", 1000)


def message(seq: int, durable: bool = True, expires: int = 0, size: int = 1) -> Message:
    return Message(seq, b"x" * size, durable, expires=expires)


def filled(*seqs: int, volatile: tuple[int, ...] = ()) -> Lane:
    """Return a lane to which messages came, some of them not durable."""
    lane = Lane(4)
    for seq in seqs:
        lane.put(message(seq, seq not in volatile))
    return lane


def store(*seqs: int) -> Read:
    """Return what reads these records."""

    def read(
        queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        assert (queue, priority) == (7, 4)
        assert count > 0
        rows = [seq for seq in seqs if seq > after][: min(count, max(1, size))]
        return [(seq, message(seq).meta(), b"x") for seq in rows]

    return read


def seqs(messages: list[Message]) -> list[int]:
    return [each.seq for each in messages]


def walk(lane: Lane, read: Read, count: int, committed: int = 100) -> list[int]:
    """Go through a lane as somebody does who only looks."""
    place, seen = -1, list[int]()
    while place < lane.last:
        some, reach = lane.after(place, count, 7, read, 0, committed)
        assert some or reach > place
        seen += seqs(some)
        place = reach
    return seen


def test_the_window_is_in_memory_and_the_rest_behind() -> None:
    lane = filled(*range(1, 16))
    assert (seqs(list(lane.head)), lane.behind, lane.edge) == ([*range(1, 11)], 5, 10)
    assert lane.last == 15


def test_what_never_goes_to_disk_stays_in_memory_beyond_the_window() -> None:
    lane = filled(*range(1, 31), volatile=tuple(range(1, 31)))
    assert len(lane.head) == WINDOW
    assert len(lane.later) == 20
    assert lane.behind == 0


def test_durable_ones_after_them_are_behind_and_the_order_is_kept() -> None:
    lane = filled(*range(1, 31), volatile=tuple(range(1, 21)))
    assert (lane.behind, lane.edge) == (10, 20)
    assert walk(lane, store(*range(21, 31)), 3) == [*range(1, 31)]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_volatile_ones_among_those_behind_are_seen_in_their_places(count: int) -> None:
    volatile = (*range(12, 30, 2), 31, 32, 33)
    lane = filled(*range(1, 34), volatile=volatile)
    stored = [seq for seq in range(11, 34) if seq not in volatile]
    assert walk(lane, store(*stored), count) == [*range(1, 34)]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_volatile_ones_among_those_behind_come_to_the_head_in_their_places(count: int) -> None:
    volatile = tuple(range(12, 40))
    lane = filled(*range(1, 46), volatile=volatile)
    stored = [seq for seq in range(11, 46) if seq not in volatile]
    served = []
    while lane.head or lane.later or lane.behind:
        if lane.later and not lane.head:
            lane.fill()
        if not lane.head:
            assert lane.refill(7, store(*stored), 0)
        while lane.head:
            served.append(lane.head[0].seq)
            lane.take(lane.head[0])
    assert served == [*range(1, 46)]
    assert lane.bytes == 0


def test_nobody_looks_beyond_what_is_committed() -> None:
    lane = filled(*range(1, 16), volatile=(15,))
    some, reach = lane.after(10, 100, 7, store(11, 12), 0, 12)
    assert (seqs(some), reach) == ([11, 12], 12)
    assert lane.after(12, 100, 7, store(11, 12), 0, 12) == ([], 12)
    assert lane.after(12, 100, 7, store(11, 12), 0, 13) == ([], 13)


def test_what_was_taken_from_beyond_the_edge_is_not_seen_again() -> None:
    lane = filled(*range(1, 16))
    read = store(*range(11, 16))
    some, _ = lane.after(10, 3, 7, read, 0, 100)
    lane.take(some[1])
    assert lane.behind == 4
    assert walk(lane, read, 2) == [*range(1, 12), 13, 14, 15]
    lane.head.clear()
    lane.bytes = 0
    assert lane.refill(7, read, 0)
    assert seqs(list(lane.head)) == [11, 13, 14, 15]
    assert lane.apart == set()


def test_what_was_given_back_there_is_seen_once() -> None:
    lane = filled(*range(1, 16))
    read = store(*range(11, 16))
    some, _ = lane.after(10, 3, 7, read, 0, 100)
    lane.take(some[1])
    lane.put_back([some[1]])
    assert walk(lane, read, 2) == [*range(1, 16)]
    assert lane.find(12) is some[1]
    lane.take(some[1])
    assert lane.find(12) is None
    assert walk(lane, read, 2) == [*range(1, 12), 13, 14, 15]


def test_what_was_handed_over_when_it_was_new_and_given_back_has_waited_here() -> None:
    lane = Lane(4)
    lane.put_back([message(5)])
    assert lane.last == 5
    assert walk(lane, store(), 2) == [5]


def test_much_that_is_given_back_leaves_the_head_short() -> None:
    lane = filled(*range(100, 110))
    lane.put_back([message(seq) for seq in range(1, 51)])
    assert len(lane.head) == WINDOW
    assert lane.bytes == WINDOW
    assert walk(lane, store(), 7) == [*range(1, 51), *range(100, 110)]


def test_a_lane_of_another_life_is_read_from_its_beginning() -> None:
    lane = Lane(4, behind=3, last=50)
    some, reach = lane.after(-1, 2, 7, store(3, 9, 20), 10, 50)
    assert (seqs(some), reach) == ([3, 9], 9)
    assert [each.redelivered for each in some] == [True, True]
    some, reach = lane.after(9, 2, 7, store(3, 9, 20), 10, 50)
    assert (seqs(some), reach) == ([20], 20)
    assert [each.redelivered for each in some] == [False]
    assert lane.after(20, 2, 7, store(3, 9, 20), 10, 50) == ([], 50)


def test_what_has_expired_is_found_wherever_it_is() -> None:
    lane = Lane(4)
    for seq in range(1, 31):
        lane.put(message(seq, durable=False, expires=100 if seq % 2 else 200))
    assert lane.soonest == 100
    lane.soonest = NEVER
    expired = lane.expired(100)
    assert seqs(expired) == [*range(1, 31, 2)]
    assert lane.soonest == 200
    for each in expired:
        lane.take(each)
    assert seqs(list(lane.in_order())) == [*range(2, 31, 2)]
    assert lane.bytes == len(lane.head)


def test_the_window_counts_bytes() -> None:
    lane = Lane(4)
    for seq in range(1, 6):
        lane.put(message(seq, size=400))
    assert (len(lane.head), lane.behind, lane.bytes) == (3, 2, 1200)
