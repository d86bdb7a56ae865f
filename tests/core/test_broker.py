"""What the queues share: room, and the other go."""

from __future__ import annotations

import pytest

from broker.errors import Refusal
from tests.core.house import House


def test_a_full_store_refuses_what_is_durable_and_takes_the_rest() -> None:
    house = House()
    house.journal.set_room(100)
    house.broker.admit(True, 100)
    with pytest.raises(Refusal, match="The store is full"):
        house.broker.admit(True, 101)
    house.broker.admit(False, 101)


def test_full_memory_refuses_what_is_not_durable_and_takes_the_rest() -> None:
    house = House(memory_limit=100)
    house.put("x" * 60, durable=False)
    house.broker.admit(False, 40)
    with pytest.raises(Refusal, match="memory"):
        house.broker.admit(False, 41)
    house.broker.admit(True, 41)
    house.consume()
    house.broker.admit(False, 100)


def test_a_refusal_is_no_reason_to_hang_up() -> None:
    house = House(memory_limit=0)
    with pytest.raises(Refusal) as caught:
        house.broker.admit(False, 1)
    assert not caught.value.fatal
    assert caught.value.hint


def test_a_queue_that_the_disk_keeps_waiting_is_asked_again_after_the_write() -> None:
    house = House()
    queue = house.queue()
    house.broker.starving[queue] = None
    house.broker.written()
    assert list(house.broker.again) == [queue]
    assert not house.broker.starving


def test_sequence_numbers_go_on_where_the_store_ended() -> None:
    house = House()
    house.put("1", "2", "3")
    house.settle()
    assert House(house.store).broker.next_seq == 4
