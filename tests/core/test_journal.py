"""What is written down, what cancels out, and how much room is left."""

from __future__ import annotations

from broker.core.journal import OVERHEAD, Journal
from broker.core.message import Message

A = 1


def message(seq: int, tail: bytes = b"tail") -> Message:
    return Message(seq, tail, True)


def journal() -> Journal:
    journal = Journal()
    journal.set_room(10_000)
    journal.name(A, "a")
    return journal


def test_nothing_to_write_is_false() -> None:
    assert not journal()


def test_a_batch_has_everything_and_the_next_begins_anew() -> None:
    j = journal()
    j.put(A, message(1))
    j.put(A, message(2))
    j.delete(A, message(0, b"old"))
    batch = j.take(3)
    assert batch.next_seq == 3
    assert batch.queues == [(A, "a")]
    assert [put[2] for put in batch.puts] == [1, 2]
    assert batch.deletes == [(A, 4, 0, 3)]
    assert not j
    after = j.take(3)
    assert (after.queues, after.puts, after.deletes) == ([], [], [])


def test_put_and_delete_cancel_and_the_room_comes_back() -> None:
    j = journal()
    one = message(1)
    j.put(A, one)
    assert j.room == 10_000 - 4 - OVERHEAD
    assert j.waiting == 4 + OVERHEAD
    j.delete(A, one)
    assert not j
    assert (j.room, j.waiting) == (10_000, 0)
    assert j.take(2).queues == []


def test_an_update_of_what_waits_here_is_part_of_the_put() -> None:
    j = journal()
    one = message(1)
    j.put(A, one)
    one.mark_redelivered()
    j.update(A, one)
    batch = j.take(2)
    assert batch.updates == []
    assert Message.from_record(1, 4, *batch.puts[0][3:]).redelivered


def test_an_update_is_written_once_and_as_it_is_at_the_end() -> None:
    j = journal()
    one = message(1)
    j.update(A, one)
    one.returns = 5
    j.update(A, one)
    [update] = j.take(2).updates
    assert Message.from_record(1, 4, *update[3:]).returns == 5


def test_a_delete_takes_its_update_with_it() -> None:
    j = journal()
    one = message(1)
    j.update(A, one)
    j.delete(A, one)
    batch = j.take(2)
    assert batch.updates == []
    assert len(batch.deletes) == 1


def test_room_counts_what_waits_and_what_is_being_written() -> None:
    j = journal()
    j.put(A, message(1, b"x" * 1000))
    j.take(2)
    assert (j.room, j.waiting) == (9000 - OVERHEAD, 0)
    j.put(A, message(2, b"x" * 500))
    j.set_room(8000)  # as the store says after the first
    assert (j.room, j.waiting) == (7500 - OVERHEAD, 500 + OVERHEAD)
    j.take(3)
    assert (j.room, j.waiting) == (7500 - OVERHEAD, 0)


def test_a_queue_is_dropped_only_if_the_store_knows_it() -> None:
    j = journal()
    j.drop(A)
    assert not j
    j.known(2)
    j.drop(2)
    assert j
    assert j.take(1).dropped == [2]
