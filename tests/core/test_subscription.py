"""How a consumer acknowledges, and how much it may hold."""

from __future__ import annotations

import pytest

from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL
from broker.errors import Refusal
from tests.core.house import House, key


@pytest.fixture
def house() -> House:
    return House()


def test_client_acknowledges_everything_before(house: House) -> None:
    consumer = house.consume(CLIENT, 5)
    house.put(*"1234567")
    consumer.ack(key(3))
    assert list(consumer.in_flight) == [key(seq) for seq in (4, 5, 6, 7)]
    assert consumer.bodies() == list("1234567")
    assert consumer.credit == 1


def test_client_individual_acknowledges_one(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put(*"123")
    consumer.ack(key(2))
    assert list(consumer.in_flight) == [key(1), key(3)]


def test_cumulative_means_in_the_order_of_delivery_and_only_ours(house: House) -> None:
    one, other = house.consume(CLIENT, 2), house.consume(CLIENT, 9)
    house.put("low", "low", "low")
    house.put("high", priority=9)
    house.put("low")
    assert [each.seq for each in other.got] == [2, 4, 5]
    other.ack(key(4))
    assert list(other.in_flight) == [key(5)]
    assert list(one.in_flight) == [key(1), key(3)]


@pytest.mark.parametrize("mode", [CLIENT, CLIENT_INDIVIDUAL])
def test_nobody_acknowledges_what_is_not_in_flight(house: House, mode: str) -> None:
    """And the refused verb changes nothing."""
    consumer = house.consume(mode)
    house.put("1", "2")
    consumer.ack(key(1))
    credit = consumer.credit
    for wrong in (key(1), key(9), ""):
        for verb in (consumer.ack, lambda each: consumer.nack(each, True)):
            with pytest.raises(Refusal, match=r"Unexpected N?ACK received for message-id"):
                verb(wrong)
    assert list(consumer.in_flight) == [key(2)]
    assert consumer.credit == credit


def test_auto_has_nothing_to_acknowledge(house: House) -> None:
    consumer = house.consume(AUTO)
    house.put("1")
    with pytest.raises(Refusal):
        consumer.ack(key(1))


def test_nack_in_mode_client_refuses_one_and_not_those_before(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put(*"123")
    consumer.nack(key(2), False)
    assert list(consumer.in_flight) == [key(1), key(3)]


def test_stop_takes_no_more_and_keeps_what_it_has_until_close(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("1")
    consumer.stop()
    house.put("2")
    assert consumer.bodies() == ["1"]
    assert house.queue().waiting == 1
    consumer.close()
    consumer.close()  # once is enough
    assert house.queue().waiting == 2
    assert house.queue().idle is False
    assert not house.queue().subscriptions


def test_a_consumer_that_was_paused_can_go(house: House) -> None:
    consumer = house.consume(CLIENT)
    consumer.pause()
    consumer.close()
    consumer.resume()  # its connection has room again, which comes too late
    house.put("1")
    assert consumer.bodies() == []
    assert house.queue().waiting == 1
