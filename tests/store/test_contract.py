"""What every store promises, asked of every driver: at once, after a restart, after a kill.

To ask it of a driver of your own: docs/write-a-store.md.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest

from broker.core.journal import OVERHEAD, Batch
from broker.store import StoreError, open_store
from broker.store.failing import FailingStore
from tests.store.keeper import (
    AT_ONCE,
    CHILDREN,
    DEADLINE,
    KILLED,
    META,
    Keeper,
    Mark,
    Put,
    delete,
    due,
    long_tail,
    measure_load,
    put,
    write_for_ever,
)

A, B = 1, 2
BOTH = [(A, "a"), (B, "b/ü.*")]
KIB, MIB = 1024, 1024**2
#: Sizes at which drivers may change their ways: LMDB's and SQLite's pages, and the pieces of large tails.
SIZES = (0, 1, 1990, 2040, 4096, 61424 - 1, 61424, 61424 + 1, 61440 + 1, 2 * 61424, 10 * MIB)
LARGEST = 2**63 - 1  # a record's number

T = TypeVar("T")


# --- the start ------------------------------------------------------------------------------------


def test_a_new_store_is_empty_and_clean(keeper: Keeper) -> None:
    assert keeper.store
    assert keeper.loaded is not None
    assert (keeper.loaded.boot, keeper.loaded.next_seq, keeper.loaded.clean) == (1, 1, True)
    assert keeper.loaded.queues == []
    assert keeper.read(A) == []


def test_the_node_stays_and_starts_are_counted(durable: Keeper) -> None:
    first = durable.load()
    second = durable.load()
    assert first.node == second.node
    assert first.node
    assert second.boot == first.boot + 1


def test_a_new_store_takes_the_name_it_is_given(durable: Keeper) -> None:
    durable.settings = replace(durable.settings, node="c0ffee00", boot=41)
    first = durable.load()
    assert (first.node, first.boot) == ("c0ffee00", 42)
    durable.settings = replace(durable.settings, node="decaf000", boot=7)
    second = durable.load()
    assert (second.node, second.boot) == ("c0ffee00", 43)


def test_two_stores_have_two_names(durable: Keeper) -> None:
    other = Keeper(durable.url.replace("data", "other"), durable.settings)
    assert durable.load().node != other.load().node
    other.close()


def test_a_run_is_clean_if_it_was_closed(keeper: Keeper) -> None:
    """What a consumer had at a crash is suspect; after an orderly end nothing is."""
    keeper.write([put(A, 1)], queues=BOTH)
    assert keeper.store
    assert keeper.loaded is not None
    assert keeper.loaded.clean == (keeper.way != KILLED)
    if keeper.way != AT_ONCE:
        assert keeper.loaded.boot == keeper.loads


def test_a_run_that_wrote_nothing_is_not_clean_either(durable: Keeper) -> None:
    durable.die_after([])
    assert not durable.load().clean
    assert durable.load().clean


def test_next_seq_is_higher_than_all_numbers_used(keeper: Keeper) -> None:
    """Also higher than those of records that are gone: an id names one message for ever."""
    keeper.write([put(A, 41)], queues=BOTH)
    keeper.write(deletes=[put(A, 41)])
    if keeper.way == AT_ONCE:
        assert keeper.store
    else:
        assert keeper.load().next_seq == 42


def test_a_start_does_not_look_at_the_records(durable: Keeper) -> None:
    """However long the backlog, the first client is served at once."""
    for first in range(1, 4001, 1000):
        durable.write([put(A, seq, b"x" * 1000) for seq in range(first, first + 1000)])
    durable.write(queues=BOTH)
    assert durable.store
    durable.close()
    looked_at = CHILDREN.Value("q", 0)
    other = durable.url.replace("data", "other")
    child = CHILDREN.Process(
        target=measure_load, args=(durable.url, other, durable.settings, looked_at)
    )
    child.start()
    child.join(DEADLINE)
    assert child.exitcode == 0
    assert 0 < looked_at.value < 4_000_000 // 8
    assert durable.lanes()["a"] == {4: 4000}


# --- records --------------------------------------------------------------------------------------


def test_records_come_in_order_whatever_the_order_of_the_batch(keeper: Keeper) -> None:
    keeper.write([put(A, seq) for seq in (5, 1, 300, 256, 255)], queues=BOTH)
    keeper.write([put(A, 2**40), put(A, 2**33)])
    assert keeper.seqs(A) == [1, 5, 255, 256, 300, 2**33, 2**40]


def test_lanes_are_apart(keeper: Keeper) -> None:
    rows = [put(queue, 10 * queue + p, priority=p) for queue in (A, B) for p in range(10)]
    keeper.write(rows, queues=BOTH)
    for queue in (A, B):
        for priority in range(10):
            assert keeper.seqs(queue, priority) == [10 * queue + priority]
    assert keeper.read(3) == []


def test_reading_goes_on_after_a_number(keeper: Keeper) -> None:
    keeper.write([put(A, seq) for seq in (2, 4, 6)] + [put(B, 7)], queues=BOTH)
    for after, expected in ((1, [2, 4, 6]), (2, [4, 6]), (3, [4, 6]), (6, []), (2**60, [])):
        assert keeper.seqs(A, after=after) == expected


def test_minus_one_reads_from_the_beginning(keeper: Keeper) -> None:
    keeper.write([put(A, 1)], queues=BOTH)
    assert keeper.seqs(A, after=-1) == [1]


def test_at_most_count_records(keeper: Keeper) -> None:
    keeper.write([put(A, seq) for seq in range(1, 6)], queues=BOTH)
    assert [seq for seq, _, _ in keeper.read(A, count=3)] == [1, 2, 3]
    assert [seq for seq, _, _ in keeper.read(A, after=3, count=3)] == [4, 5]
    assert keeper.read(A, count=0) == []


def test_at_most_size_bytes_but_always_one(keeper: Keeper) -> None:
    keeper.write([put(A, seq, b"x" * 100) for seq in (1, 2, 3)], queues=BOTH)
    for size, expected in ((1, [1]), (100, [1]), (199, [1]), (200, [1, 2]), (300, [1, 2, 3])):
        assert [seq for seq, _, _ in keeper.read(A, size=size)] == expected


def test_the_size_counts_large_tails_too(keeper: Keeper) -> None:
    tails = [b"a" * 10, b"b" * 100 * KIB, b"c" * 200 * KIB, b"d"]
    keeper.write([put(A, seq, tail) for seq, tail in enumerate(tails, 1)], queues=BOTH)
    assert [seq for seq, _, _ in keeper.read(A, size=150 * KIB)] == [1, 2]
    assert [seq for seq, _, _ in keeper.read(A, after=2, size=150 * KIB)] == [3]
    assert [seq for seq, _, _ in keeper.read(A, after=2, size=200 * KIB + 1)] == [3, 4]


def test_tails_of_every_size_come_back_and_go(keeper: Keeper) -> None:
    choose = random.Random(1)
    records = [
        (queue, 4, 100 * queue + seq, META, choose.randbytes(size))
        for queue in (A, B)
        for seq, size in enumerate(SIZES)
        if queue == A or size < MIB  # one of the largest is enough
    ]
    keeper.write(records, queues=BOTH)
    for queue in (A, B):
        assert keeper.read(queue) == [tuple(each[2:]) for each in records if each[0] == queue]
    gone = [each for each in records if each[0] == A]
    choose.shuffle(gone)
    keeper.write(deletes=gone)
    assert keeper.read(A) == []
    assert keeper.read(B) == [tuple(each[2:]) for each in records if each[0] == B]


def test_bytes_are_bytes(keeper: Keeper) -> None:
    """What is read belongs to the reader, it does not change with the store."""
    keeper.write([(A, 4, 1, bytes(range(200)), bytes(range(256)))], queues=BOTH)
    [row] = keeper.read(A)
    assert [type(each) for each in row] == [int, bytes, bytes]
    keeper.write(deletes=[put(A, 1, b"x" * 256)], puts=[put(A, 2, b"y" * 256)])
    assert keeper.store
    assert row == (1, bytes(range(200)), bytes(range(256)))


@pytest.mark.parametrize("size", [10, 100 * KIB])
def test_updates_change_the_meta_and_nothing_else(keeper: Keeper, size: int) -> None:
    first, second = put(A, 1, b"x" * size), put(A, 2, b"y" * size)
    keeper.write([first, second], queues=BOTH)
    keeper.write(updates=[(*first[:3], b"changed", first[4])])
    assert keeper.read(A) == [(1, b"changed", first[4]), (2, META, second[4])]
    if keeper.way != AT_ONCE:
        assert keeper.lanes() == {"a": {4: 2}, "b/ü.*": {}}
    keeper.write(deletes=[first])
    assert keeper.seqs(A) == [2]


def test_a_batch_is_done_in_its_order(keeper: Keeper) -> None:
    """Queues, puts, updates, deletes, dropped: each may speak of what stands before it."""
    record = put(B, 1, b"x" * 100 * KIB)
    keeper.write(
        [record, put(A, 2)],
        queues=BOTH,
        updates=[(*record[:3], b"changed", record[4])],
        deletes=[record],
        dropped=[B],
    )
    assert keeper.read(B) == []
    assert keeper.seqs(A) == [2]
    if keeper.way != AT_ONCE:
        assert keeper.lanes() == {"a": {4: 1}}


def test_a_number_may_be_used_again_once_its_record_is_gone(keeper: Keeper) -> None:
    """After a crash: what was never committed has left no trace."""
    keeper.write([put(A, 1, b"x" * 300 * KIB)], queues=BOTH)
    keeper.write(deletes=[put(A, 1, b"x" * 300 * KIB)])
    keeper.write([put(B, 1, b"y" * 70 * KIB)])
    assert keeper.read(A) == []
    assert keeper.read(B) == [(1, META, b"y" * 70 * KIB)]


# --- in another order than that of arrival ----------------------------------------------------------


def test_records_may_be_put_between_others(keeper: Keeper) -> None:
    """As messages that are due at some time: who reads on finds those put behind its place meanwhile."""
    keeper.write([put(A, due(30)), put(A, due(10))], queues=BOTH)
    keeper.write([put(A, due(20)), put(A, due(5)), put(A, due(40)), put(A, due(20, low=1))])
    everything = [due(5), due(10), due(20), due(20, low=1), due(30), due(40)]
    assert keeper.seqs(A, after=-1) == everything
    assert [seq for seq, _, _ in keeper.read(A, count=2)] == [due(5), due(10)]
    keeper.write([put(A, due(15)), put(A, due(7))], deletes=[put(A, due(20)), put(A, due(5))])
    assert keeper.seqs(A, after=due(10)) == [due(15), due(20, low=1), due(30), due(40)]
    assert keeper.seqs(A, after=-1)[:2] == [due(7), due(10)]


def test_numbers_from_zero_to_the_largest(keeper: Keeper) -> None:
    """None is rounded, cut or taken for a negative one."""
    seqs = [0, 1, 255, 2**31, 2**32 - 1, 2**53, 2**53 + 1, due(0), due(0, 1), LARGEST - 1, LARGEST]
    keeper.write([put(A, seq) for seq in seqs[::-1]], queues=BOTH)
    assert keeper.seqs(A, after=-1) == seqs
    for place, seq in enumerate(seqs):
        assert keeper.seqs(A, after=seq) == seqs[place + 1 :]
    keeper.write(deletes=[put(A, seq) for seq in seqs[1:-1]])
    assert keeper.seqs(A, after=-1) == [0, LARGEST]


def test_large_tails_at_such_places(keeper: Keeper) -> None:
    """Numbers next to each other, in several lanes: no piece of one comes to another."""
    records = [
        put(A, due(2), b"a" * 200 * KIB),
        put(B, due(2, 1), b"b" * 130 * KIB),
        put(A, due(2, 2), b"c" * 200 * KIB, priority=9),
        put(A, due(1), b"d" * 70 * KIB),
        put(A, LARGEST, b"e" * 70 * KIB),
    ]
    keeper.write(records, queues=BOTH)
    assert keeper.read(A) == [records[3][2:], records[0][2:], records[4][2:]]
    keeper.write(
        deletes=[records[0]],
        updates=[(*records[1][:3], b"changed", records[1][4])],
    )
    assert keeper.read(A) == [records[3][2:], records[4][2:]]
    assert keeper.read(B) == [(due(2, 1), b"changed", b"b" * 130 * KIB)]
    assert keeper.read(A, 9) == [records[2][2:]]


def test_a_record_whose_time_has_come_moves_in_one_batch(keeper: Keeper) -> None:
    """It gets a number of its own where it goes: at no moment two records have the same."""
    waiting = put(A, due(1), b"x" * 100 * KIB)
    keeper.write([waiting], queues=BOTH)
    keeper.write([put(B, 7, waiting[4])], deletes=[waiting])
    assert keeper.read(A) == []
    assert keeper.read(B) == [(7, META, waiting[4])]


def test_next_seq_does_not_follow_such_numbers(durable: Keeper) -> None:
    """It counts arrivals; the next message would come after all that are due this century."""
    durable.write([put(A, 5), put(A, due(1))], queues=BOTH)
    assert durable.load().next_seq == 6


def test_many_records_in_random_order(durable: Keeper) -> None:
    """Read on the way, walked through in pieces, and taken away from the front."""
    choose = random.Random(3)
    seqs = [due(choose.randrange(3_600_000), low) for low in range(100_000)]
    end = time.monotonic() + DEADLINE
    durable.write(queues=BOTH)
    for first in range(0, len(seqs), 5000):
        durable.write([put(A, seq) for seq in seqs[first : first + 5000]])
        assert durable.read(A, count=1)[0][0] == min(seqs[: first + 5000])
    seqs.sort()
    assert [seq for rows in durable.walk(A) for seq, _, _ in rows] == seqs
    assert durable.lanes()["a"] == {4: 100_000}
    while rows := durable.read(A, count=5000):
        assert [seq for seq, _, _ in rows] == seqs[:5000]
        durable.write(deletes=[put(A, seq) for seq in seqs[:5000]])
        del seqs[:5000]
    assert not seqs
    assert time.monotonic() < end


# --- marks ----------------------------------------------------------------------------------------


def test_marks_are_there_at_the_start(keeper: Keeper) -> None:
    keeper.write(queues=BOTH, marks=[(b"durable/1", b"at 17"), (b"durable/2", b"")])
    assert keeper.marks() == {b"durable/1": b"at 17", b"durable/2": b""}
    keeper.write(marks=[(b"durable/1", b"at 18")])
    assert keeper.marks() == {b"durable/1": b"at 18", b"durable/2": b""}


def test_the_last_value_counts(keeper: Keeper) -> None:
    for number in range(50):
        keeper.write(marks=[(b"at", b"%d" % number)])
    assert keeper.marks() == {b"at": b"49"}


def test_a_mark_is_forgotten_also_one_that_is_not_there(keeper: Keeper) -> None:
    keeper.write(marks=[(b"a", b"1"), (b"b", b"2")])
    keeper.write(marks=[(b"a", None), (b"c", None)])
    assert keeper.marks() == {b"b": b"2"}
    keeper.write(marks=[(b"a", b"3"), (b"b", None)])
    assert keeper.marks() == {b"a": b"3"}


def test_keys_and_values_are_any_bytes(keeper: Keeper) -> None:
    """Keys of up to 400 bytes that differ only in the last; values of up to 1 MB, changing their size."""
    choose = random.Random(4)
    keys = [b"\0", b"\0\0", b"\xff" * 400, b"\xff" * 399 + b"\xfe", "ü".encode(), b"U"]
    sizes = (0, 1, 2000, 60_000, 61_440, MIB)
    first = {key: choose.randbytes(size) for key, size in zip(keys, sizes, strict=True)}
    keeper.write(marks=list(first.items()))
    assert keeper.marks() == first
    second = {key: choose.randbytes(size) for key, size in zip(keys, sizes[::-1], strict=True)}
    keeper.write(marks=list(second.items()))
    marks = keeper.marks()
    assert marks == second
    assert {type(each) for pair in marks.items() for each in pair} == {bytes}


def test_a_batch_of_marks_only(durable: Keeper) -> None:
    durable.write([put(A, 1)], queues=BOTH)
    durable.write(marks=[(b"a", b"1")])
    loaded = durable.load()
    assert loaded.marks == {b"a": b"1"}
    assert loaded.next_seq == 2
    assert durable.seqs(A) == [1]


# --- queues ---------------------------------------------------------------------------------------


def test_queues_and_their_counts_are_there_at_the_start(durable: Keeper) -> None:
    durable.write([put(A, 1), put(A, 2), put(A, 3, priority=9), put(A, 4, priority=0)], queues=BOTH)
    durable.write(deletes=[put(A, 2)])
    assert durable.lanes() == {"a": {4: 1, 9: 1, 0: 1}, "b/ü.*": {}}
    assert {queue.number: queue.name for queue in durable.load().queues} == dict(BOTH)


def test_a_lane_that_ran_empty_is_not_counted(durable: Keeper) -> None:
    durable.write([put(A, 1), put(A, 2)], queues=BOTH)
    durable.write(deletes=[put(A, 1), put(A, 2)])
    assert durable.lanes() == {"a": {}, "b/ü.*": {}}
    durable.write([put(A, 3)])
    assert durable.lanes() == {"a": {4: 1}, "b/ü.*": {}}


def test_a_dropped_queue_is_forgotten_and_may_come_back_under_another_number(
    durable: Keeper,
) -> None:
    durable.write([put(A, 1)], queues=BOTH)
    durable.write(deletes=[put(A, 1)])
    durable.write(dropped=[A], queues=[(3, "a")], puts=[put(3, 2)])
    assert durable.lanes() == {"b/ü.*": {}, "a": {4: 1}}


def test_a_queue_that_never_had_a_record_is_there_until_it_is_dropped(durable: Keeper) -> None:
    durable.write(queues=BOTH)
    assert durable.lanes() == {"a": {}, "b/ü.*": {}}
    durable.write(dropped=[B])
    assert durable.lanes() == {"a": {}}


# --- all or nothing -------------------------------------------------------------------------------

SCRIPT = [
    Batch(3, [(A, "a")], [], [put(A, 1), put(A, 2, b"x" * 150 * KIB)], marks=[(b"1", b"old")]),
    Batch(4, [(B, "b")], [], [put(B, 3)], deletes=[delete(put(A, 1))]),
    Batch(4, updates=[(A, 4, 2, b"changed", b"x" * 150 * KIB)], marks=[(b"2", b"x" * 70_000)]),
    Batch(5, [], [], [put(A, 4)], deletes=[delete(put(A, 2, b"x" * 150 * KIB))]),
    Batch(6, [], [B], [put(A, 5)], deletes=[delete(put(B, 3))], marks=[(b"1", None), (b"2", b"")]),
]


@dataclass
class Model:
    """What must be there after some batches."""

    queues: dict[int, str] = field(default_factory=dict)
    records: dict[tuple[int, int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    marks: dict[bytes, bytes] = field(default_factory=dict)

    def write(self, batch: Batch) -> None:
        self.queues.update(batch.queues)
        for queue, priority, seq, meta, tail in [*batch.puts, *batch.updates]:
            self.records[queue, priority, seq] = (meta, tail)
        for queue, priority, seq, _ in batch.deletes:
            del self.records[queue, priority, seq]
        for number in batch.dropped:
            del self.queues[number]
        for key, value in batch.marks:
            self.marks.pop(key, None)
            if value is not None:
                self.marks[key] = value

    def check(self, keeper: Keeper) -> None:
        """The store holds exactly this, and counts it."""
        loaded = keeper.load()
        assert {queue.number: queue.name for queue in loaded.queues} == self.queues
        assert loaded.marks == self.marks
        for stored in loaded.queues:
            for priority in range(10):
                expected = [
                    (seq, *pieces)
                    for (queue, lane, seq), pieces in sorted(self.records.items())
                    if (queue, lane) == (stored.number, priority)
                ]
                assert keeper.read(stored.number, priority) == expected
                assert stored.lanes.get(priority, 0) == len(expected)


@pytest.mark.parametrize("kept", [False, True], ids=["lost", "kept"])
@pytest.mark.parametrize("fail_at", range(1, len(SCRIPT) + 1))
def test_after_a_failed_write_there_is_what_was_written_before(
    durable: Keeper, fail_at: int, kept: bool
) -> None:
    """And perhaps the one that failed, whole: nobody can know."""
    model = Model()
    store = FailingStore(open_store(durable.url, durable.settings), fail_at, kept=kept)
    store.load()
    for batch in SCRIPT[: fail_at - 1]:
        store.write(batch)
        model.write(batch)
    for _ in range(2):  # once failed, it stays so
        with pytest.raises(OSError, match="Input/output error"):
            store.write(SCRIPT[fail_at - 1])
    if kept:
        model.write(SCRIPT[fail_at - 1])
    store.close()
    model.check(durable)


class Interrupted(Exception):
    """A batch that ends in the middle."""


class Breaking(Sequence[T]):
    """A sequence that cannot be read beyond an item."""

    def __init__(self, items: Sequence[T], budget: list[int]) -> None:
        self._items = items
        self._budget = budget  # items that may still be read, shared by the sequences of a batch

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._items[index]

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            self._budget[0] -= 1
            if self._budget[0] < 0:
                raise Interrupted
            yield item


def test_a_write_that_breaks_off_leaves_nothing(durable: Keeper) -> None:
    """Wherever in the batch it happens."""
    model = Model()
    batch = Batch(
        9,
        [(B, "b"), (3, "c")],
        [A],
        [put(A, 5), put(B, 6, b"z" * 150 * KIB), put(3, 7)],
        [(A, 4, 2, b"changed", b"x" * 150 * KIB)],
        [delete(put(A, 5)), delete(put(A, 1)), delete(put(A, 2, b"x" * 150 * KIB))],
        [(b"1", None), (b"2", b"new"), (b"3", b"z" * 150 * KIB)],
    )
    store = open_store(durable.url, durable.settings)
    store.load()
    store.write(SCRIPT[0])
    model.write(SCRIPT[0])
    total = 0
    while True:
        budget = [total]
        breaking = Batch(batch.next_seq)
        for name in ("queues", "dropped", "puts", "updates", "deletes", "marks"):
            setattr(breaking, name, Breaking(getattr(batch, name), budget))
        try:
            store.write(breaking)
        except Interrupted:
            assert [seq for seq, _, _ in store.read(A, 4, 0, 10, 1 << 20)] == [1, 2]
            total += 1
            store.close()
            model.check(durable)
            durable.close()
            store = open_store(durable.url, durable.settings)
            store.load()
        else:
            break
    assert total >= 13
    store.close()
    model.write(batch)
    model.check(durable)


def test_a_kill_at_any_moment_leaves_whole_batches(durable: Keeper) -> None:
    """What was confirmed is there, and at most one batch more; no half of any."""
    for round_ in range(3):
        written = CHILDREN.Value("i", 0)
        child = CHILDREN.Process(
            target=write_for_ever, args=(durable.url, durable.settings, written)
        )
        child.start()
        end = time.monotonic() + DEADLINE
        while written.value < 10 + 7 * round_:
            assert time.monotonic() < end
            assert child.exitcode is None
        child.kill()
        child.join(DEADLINE)
        assert child.exitcode == -signal.SIGKILL
        loaded = durable.load()
        confirmed = written.value
        rows = durable.read(A)
        assert len(rows) in (confirmed, confirmed + 1)
        seqs = [1 + 2 * index for index in range(len(rows))]
        assert [(seq, tail) for seq, _, tail in rows] == [(seq, long_tail(seq)) for seq in seqs]
        assert durable.seqs(B) == [seqs[-1] + 1]
        assert {queue.name: queue.lanes for queue in loaded.queues} == {
            "a": {4: len(rows)},
            "b": {4: 1},
        }
        assert loaded.next_seq == seqs[-1] + 2
        assert loaded.marks == {b"at": b"%d" % seqs[-1], b"long": long_tail(seqs[-1])}
        clear(durable)
        durable.close()


def clear(keeper: Keeper) -> None:
    """Delete everything, queues and marks included."""
    loaded = keeper.load()
    queues = loaded.queues
    for stored in queues:
        for priority in stored.lanes:
            records = [
                (stored.number, priority, seq, meta, tail)
                for seq, meta, tail in keeper.read(stored.number, priority)
            ]
            keeper.write(deletes=records)
    keeper.write(
        dropped=[stored.number for stored in queues], marks=[(key, None) for key in loaded.marks]
    )
    assert keeper.lanes() == {}
    assert keeper.marks() == {}


# --- random batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_random_batches(durable: Keeper, seed: int) -> None:
    """Like a model in memory, in the end and on the way there."""
    choose = random.Random(seed)
    model = Model()
    seq = 1
    for step in range(40):
        batch = Batch(seq)
        for _ in range(choose.randrange(3)):
            number = max([*model.queues, *(each for each, _ in batch.queues), 0]) + 1
            batch.queues.append((number, f"queue {choose.randrange(1000)}"))
        numbers = [*model.queues, *(number for number, _ in batch.queues)]
        for _ in range(choose.randrange(8) if numbers else 0):
            tail = choose.randbytes(choose.choice((0, 10, 200, 3000, 61424, 61425, 130_000)))
            lane = choose.choice(numbers), choose.choice((4, 4, 0, 9))
            place = due(choose.randrange(10**9), seq) if choose.random() < 0.3 else seq
            batch.puts.append((*lane, place, choose.randbytes(11), tail))
            seq += 1
        batch.next_seq = seq
        there = model.records | {
            (queue, priority, each): (meta, tail)
            for queue, priority, each, meta, tail in batch.puts
        }
        for record in choose.sample(sorted(there), min(len(there), choose.randrange(4))):
            batch.updates.append((*record, choose.randbytes(11), there[record][1]))
        for record in choose.sample(sorted(there), min(len(there), choose.randrange(8))):
            batch.deletes.append((*record, len(there.pop(record)[1])))
        for key in choose.sample([b"a", b"b", b"c", b"d"], choose.randrange(4)):
            size = choose.choice((None, 0, 10, 2100, 60_000, 300_000))
            batch.marks.append((key, None if size is None else choose.randbytes(size)))
        used = {queue for queue, _, _ in there}
        batch.dropped.extend(number for number in numbers if number not in used)
        durable.store.write(batch)
        model.write(batch)
        if step % 20 == 19:
            model.check(durable)


# --- room -----------------------------------------------------------------------------------------


def test_room_shrinks_and_recovers(keeper: Keeper) -> None:
    before = keeper.store.room()
    assert 0 < before <= keeper.settings.map_size
    records = [put(A, seq, b"x" * 100 * KIB) for seq in range(1, 41)]
    keeper.write(records, queues=BOTH)
    full = keeper.store.room()
    assert full < before - MIB // 2
    keeper.write(deletes=records)
    assert keeper.store.room() > before - 100 * KIB


def test_marks_take_room_and_give_it_back(keeper: Keeper) -> None:
    before = keeper.store.room()
    marks: list[Mark] = [(b"%d" % number, b"x" * 60_000) for number in range(60)]
    keeper.write(marks=marks)
    full = keeper.store.room()
    assert full < before - MIB // 2
    keeper.write(marks=[(key, b"y" * 60_000) for key, _ in marks])
    assert keeper.store.room() > full - 100 * KIB
    keeper.write(marks=[(key, None) for key, _ in marks])
    assert keeper.store.room() > before - 100 * KIB


@pytest.mark.parametrize("size", [100, 2100, 70_000, 0], ids=["100", "2100", "70000", "mixed"])
@pytest.mark.parametrize("together", [1, 2000], ids=["one by one", "many at once"])
def test_a_full_store_can_be_emptied(durable: Keeper, size: int, together: int) -> None:
    """Producers who respect `room` never break a store, and consumers can always acknowledge.

    The worst ways: batches as large as the room allows, deletes all over the place, alone or together. What
    is acknowledged changes marks too.
    """
    durable.settings = durable.settings.__class__(map_size=4 * MIB, disk_reserve=0)
    choose = random.Random(size)
    store = durable.store
    empty = store.room()
    live: list[Put] = []
    seq = 1
    while True:
        room = store.room()
        batch = Batch(seq, [] if live else [*BOTH])
        while True:
            tail = b"x" * (size or choose.choice((10, 500, 1400, 1900, 2100, 5000, 65_000)))
            room -= len(tail) + OVERHEAD
            if room < 0:
                break
            batch.puts.append((choose.choice((A, B)), choose.choice((4, 4, 0, 9)), seq, META, tail))
            seq += 1
        if not batch.puts:
            break
        batch.next_seq = seq
        store.write(batch)
        live += batch.puts
    assert sum(len(tail) for *_, tail in live) > 0.4 * MIB
    assert store.room() < 70_000 + OVERHEAD
    choose.shuffle(live)
    for _ in range(100 if together == 1 else 0):  # and the rest faster, this takes time
        if live:
            mark: Mark = (
                b"%d" % choose.randrange(4),
                choose.randbytes(choose.choice((10, 60_000))),
            )
            store.write(Batch(seq, deletes=[delete(live.pop())], marks=[mark]))
    while live:
        store.write(Batch(seq, deletes=[delete(each) for each in live[-2000:]]))
        del live[-2000:]
    store.write(Batch(seq, marks=[(b"%d" % number, None) for number in range(4)]))
    assert store.room() > empty * 0.9
    store.write(Batch(seq + 1, puts=[put(A, seq)]))
    assert durable.seqs(A) == [seq]


# --- threads --------------------------------------------------------------------------------------


def test_reading_while_another_thread_writes(durable: Keeper) -> None:
    """A reader sees whole batches, at any moment."""
    store = durable.store
    store.write(Batch(1, BOTH))
    failure: list[BaseException] = []
    done = threading.Event()

    def write() -> None:
        try:
            for seq in range(1, 241, 2):
                tail = b"x" * (seq * 997 % 100_000)
                batch = Batch(seq + 2, puts=[(A, 4, seq, META, tail), (A, 4, seq + 1, META, tail)])
                if seq > 20:
                    old = b"x" * ((seq - 20) * 997 % 100_000)
                    batch.deletes = [(A, 4, seq - 20, len(old)), (A, 4, seq - 19, len(old))]
                store.write(batch)
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() or not looks:
        rows = store.read(A, 4, 0, 100, 1 << 30)
        assert len(rows) % 2 == 0
        for (first, _, tail), (second, _, twin) in zip(rows[::2], rows[1::2], strict=True):
            assert second == first + 1
            assert len(tail) == len(twin) == first * 997 % 100_000
        assert store.room() > 0
        looks += 1
    writer.join(DEADLINE)
    assert not failure
    assert durable.seqs(A) == list(range(221, 241))


# --- who may open it ------------------------------------------------------------------------------


def test_one_broker_at_a_time(durable: Keeper) -> None:
    durable.write([put(A, 1)], queues=BOTH)
    assert durable.store
    with pytest.raises(StoreError, match="in use") as caught:
        open_store(durable.url, durable.settings)
    assert "\n" not in str(caught.value)
    assert durable.seqs(A) == [1]
    durable.close()
    assert durable.seqs(A) == [1]


def test_a_killed_broker_leaves_no_lock(durable: Keeper) -> None:
    durable.die_after(SCRIPT[:1])
    assert durable.seqs(A) == [1, 2]
