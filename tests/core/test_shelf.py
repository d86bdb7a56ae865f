"""A shelf beside a sorted list that does the same slowly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core import shelf as shelf_module
from broker.core.message import Message
from broker.core.shelf import NEWEST, Shelf

SEQS = st.integers(0, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), SEQS),
        st.tuples(st.just("take"), SEQS),
        st.tuples(st.just("pop"), st.integers(0, 8), st.one_of(SEQS, st.just(NEWEST))),
        st.tuples(st.just("add_oldest"), st.integers(0, 9)),
    ),
    max_size=80,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "BLOCK", 3)


def message(seq: int) -> Message:
    return Message(seq, b"", True)


def seqs(messages: list[Message]) -> list[int]:
    return [each.seq for each in messages]


@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS, SEQS, st.integers(1, 10), SEQS)
def test_it_is_a_sorted_list(
    steps: list[tuple[str, int] | tuple[str, int, int]], place: int, count: int, limit: int
) -> None:
    shelf, there = Shelf(), list[int]()
    for step in steps:
        if step[0] == "add":
            if step[1] not in there:
                shelf.add(message(step[1]))
                there = sorted([*there, step[1]])
        elif step[0] == "take":
            assert shelf.take(step[1]) is (step[1] in there)
            there = [seq for seq in there if seq != step[1]]
        elif step[0] == "add_oldest":
            first = there[0] if there else 100
            oldest = [*range(first - step[1], first)]
            shelf.add_oldest([message(seq) for seq in oldest])
            there = oldest + there
        elif len(step) == 3:
            popped = [seq for seq in there if seq <= step[2]][: step[1]]
            assert seqs(shelf.pop(step[1], step[2])) == popped
            there = there[len(popped) :]
        assert seqs(list(shelf)) == there
        assert len(shelf) == len(there)
        assert bool(shelf) == bool(there)
        if there:
            assert shelf.oldest.seq == there[0]
    for seq in range(-10, 62):
        found = shelf.find(seq)
        assert (found.seq if found else None) == (seq if seq in there else None)
    after = [seq for seq in there if place < seq <= limit][:count]
    assert seqs(shelf.after(place, count, limit)) == after


def test_it_begins_with_messages_in_order() -> None:
    assert seqs(list(Shelf(map(message, range(20))))) == [*range(20)]
