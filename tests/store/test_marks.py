"""From the journal to a store and back: marks, and queues that are kept while they are empty."""

from __future__ import annotations

import pytest

from broker.core.journal import Journal
from broker.core.message import Message
from tests.store.keeper import Keeper

A, B = 1, 2


@pytest.fixture
def journal() -> Journal:
    journal = Journal()
    journal.set_room(1 << 20)
    journal.name(A, "a")
    journal.name(B, "b")
    return journal


def write(journal: Journal, durable: Keeper) -> None:
    """Carry the journal to the store, as a turn does."""
    durable.store.write(journal.take(1))


def test_a_mark_is_encoded_once_a_batch_as_it_is_then(journal: Journal, durable: Keeper) -> None:
    """However often it changed."""
    state: list[int] = []
    calls = []

    def encode() -> bytes:
        calls.append(len(state))
        return bytes(state)

    for number in range(3):
        state.append(number)
        journal.mark(b"durable/a", encode)
    assert calls == []
    assert journal
    write(journal, durable)
    assert calls == [3]
    assert not journal
    assert durable.marks() == {b"durable/a": b"\0\1\2"}
    write(journal, durable)
    assert calls == [3]


def test_the_last_word_about_a_mark_counts(journal: Journal, durable: Keeper) -> None:
    journal.mark(b"a", lambda: b"1")
    journal.mark(b"a", lambda: b"2")
    journal.mark(b"b", lambda: b"3")
    assert journal.take(1).marks == [(b"a", b"2"), (b"b", b"3")]
    journal.mark(b"b", lambda: b"3")
    write(journal, durable)
    journal.mark(b"a", lambda: None)
    journal.mark(b"b", lambda: None)
    assert journal
    write(journal, durable)
    assert durable.marks() == {}


def test_a_mark_takes_nothing_off_the_room(journal: Journal) -> None:
    """Who acknowledges is never refused, and what is kept of it mostly replaces what was there."""
    room = journal.room
    journal.mark(b"a", lambda: b"x" * 60_000)
    assert (journal.room, journal.waiting) == (room, 0)
    journal.take(1)
    assert (journal.room, journal.waiting) == (room, 0)


def test_a_queue_that_is_kept_survives_though_it_never_had_a_message(
    journal: Journal, durable: Keeper
) -> None:
    journal.keep(A)
    assert journal
    write(journal, durable)
    assert not journal
    assert durable.lanes() == {"a": {}}
    journal.keep(A)  # known already
    assert not journal
    journal.drop(A)
    assert journal
    write(journal, durable)
    assert durable.lanes() == {}


def test_a_queue_that_is_kept_and_gets_a_message_is_made_known_once(journal: Journal) -> None:
    one = Message(1, b"tail", True)
    journal.keep(A)
    journal.put(A, one)
    assert journal.take(2).queues == [(A, "a")]
    journal.keep(B)
    journal.put(B, one)
    journal.delete(B, one)
    batch = journal.take(2)
    assert (batch.queues, batch.puts) == ([(B, "b")], [])


def test_a_queue_that_is_dropped_before_it_was_made_known_leaves_no_trace(journal: Journal) -> None:
    journal.keep(A)
    journal.drop(A)
    assert not journal
    batch = journal.take(1)
    assert (batch.queues, batch.dropped) == ([], [])


def test_a_queue_that_the_store_holds_need_not_be_kept(journal: Journal) -> None:
    journal.known(A)
    journal.keep(A)
    assert not journal
