"""What only the memory driver has: an order that is made up for when somebody reads."""

from __future__ import annotations

import random

import pytest

from broker.core.journal import Batch
from broker.store.memory import FEW, SLACK, MemoryStore
from tests.store.conftest import SETTINGS
from tests.store.keeper import due, put

A = 1


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(SETTINGS)
    store.load()
    store.write(Batch(1, [(A, "a")]))
    return store


def write(store: MemoryStore, puts: list[int], deletes: list[int] | None = None) -> None:
    """Put and delete records of one byte."""
    store.write(
        Batch(
            1,
            puts=[put(A, seq, b"x") for seq in puts],
            deletes=[(A, 4, seq, 1) for seq in deletes or ()],
        )
    )


def seqs(store: MemoryStore, after: int = -1, count: int = 1 << 20) -> list[int]:
    """Return the numbers of the records."""
    return [seq for seq, _, _ in store.read(A, 4, after, count, 1 << 30)]


@pytest.mark.parametrize("late", [1, FEW - 1, FEW, 100])
def test_what_comes_late_gets_its_place(store: MemoryStore, late: int) -> None:
    """Whether they are few or many."""
    write(store, list(range(0, 1000, 2)))
    write(store, list(range(1, 2 * late, 2))[::-1])
    assert seqs(store) == sorted([*range(0, 1000, 2), *range(1, 2 * late, 2)])
    write(store, [1001])
    assert seqs(store, after=997) == [998, 1001]


def test_a_number_that_comes_again_is_read_once(store: MemoryStore) -> None:
    """First, in the middle or last, and also when it goes and comes without being read."""
    write(store, [1, 2, 3])
    for seq in (1, 2, 3):
        for _ in range(3):
            write(store, [], deletes=[seq])
            write(store, [seq])
    assert seqs(store) == [1, 2, 3]
    assert seqs(store, count=2) == [1, 2]
    for _ in range(100):
        write(store, [], deletes=[2])
        write(store, [2])
        assert seqs(store) == [1, 2, 3]


def test_what_came_and_went_leaves_nothing(store: MemoryStore) -> None:
    """Also when nobody ever reads."""
    write(store, [due(1_000_000)])
    for number in range(1000):
        write(store, [due(999 - number)])
        write(store, [], deletes=[due(999 - number)])
    lane = store._lanes[A, 4]
    assert len(lane.order) + len(lane.late) <= 2 + SLACK
    assert seqs(store) == [due(1_000_000)]


def test_reading_from_the_beginning_does_not_pass_all_that_is_gone(store: MemoryStore) -> None:
    write(store, list(range(10_000)))
    write(store, [], deletes=list(range(4000)))
    assert seqs(store, count=3) == [4000, 4001, 4002]
    assert len(store._lanes[A, 4].order) == 6000
    write(store, [5, 4])
    assert seqs(store, count=3) == [4, 5, 4000]


def test_many_in_random_order(store: MemoryStore) -> None:
    """As the contract asks of the durable ones, and read after every batch."""
    choose = random.Random(3)
    numbers = [due(choose.randrange(3_600_000), low) for low in range(100_000)]
    for first in range(0, len(numbers), 1000):
        write(store, numbers[first : first + 1000])
        assert seqs(store, count=1) == [min(numbers[: first + 1000])]
    numbers.sort()
    assert seqs(store) == numbers
    while numbers:
        assert seqs(store, count=1000) == numbers[:1000]
        write(store, [], deletes=numbers[:1000])
        del numbers[:1000]
    assert seqs(store) == []
    assert store.load().queues[0].lanes == {}


def test_marks_are_found_again_by_who_holds_the_store(store: MemoryStore) -> None:
    """And what was loaded does not change with the store."""
    store.write(Batch(1, marks=[(b"a", b"1"), (b"b", b"22")]))
    loaded = store.load()
    store.write(Batch(1, marks=[(b"a", None)]))
    assert loaded.marks == {b"a": b"1", b"b": b"22"}
    assert store.load().marks == {b"b": b"22"}
