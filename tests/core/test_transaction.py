"""What is held between BEGIN and COMMIT: all of it happens in one turn, or nothing."""

from __future__ import annotations

import pytest

from broker.core.policy import DEAD_LETTERS
from broker.core.subscription import CLIENT, CLIENT_INDIVIDUAL
from broker.core.transaction import STEP, Transaction
from broker.errors import Refusal
from tests.core.house import House, key


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def transaction(house: House) -> Transaction:
    return Transaction(house.broker.memory)


def test_commit_does_everything_in_one_batch(house: House, transaction: Transaction) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("in")
    house.write()
    transaction.send(lambda: house.put("out 1", to=house.queue("b")), 5, True)
    transaction.ack(consumer, key(1))
    transaction.send(lambda: house.put("out 2", to=house.queue("c")), 5, True)
    assert transaction.size == 10
    assert not house.journal
    transaction.commit()
    batch = house.begin_write()
    assert [put[4] for put in batch.puts] == [b"out 1", b"out 2"]
    assert [delete[2] for delete in batch.deletes] == [1]


def test_the_order_is_that_of_the_verbs(house: House, transaction: Transaction) -> None:
    transaction.send(lambda: house.put("2"), 1, True)
    house.put("1")
    transaction.send(lambda: house.put("3"), 1, True)
    transaction.commit()
    assert house.consume().bodies() == ["1", "2", "3"]


def test_abort_sends_nothing(house: House, transaction: Transaction) -> None:
    transaction.send(lambda: house.put("1"), 1, True)
    transaction.abort()
    assert house.queue().waiting == 0
    assert not house.journal


def test_an_acknowledgement_widens_the_prefetch_at_once(
    house: House, transaction: Transaction
) -> None:
    """Else a transaction larger than the prefetch would starve, and never end."""
    consumer = house.consume(CLIENT_INDIVIDUAL, 2)
    house.put(*"123456")
    transaction.ack(consumer, key(1))
    transaction.ack(consumer, key(2))
    assert consumer.bodies() == ["1", "2", "3", "4"]
    transaction.ack(consumer, key(3))
    assert consumer.bodies() == ["5"]
    transaction.commit()
    assert consumer.bodies() == []
    assert list(consumer.in_flight) == [key(4), key(5)]


def test_abort_leaves_messages_with_their_consumer(house: House, transaction: Transaction) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, 2)
    house.put(*"123")
    transaction.ack(consumer, key(1))
    assert consumer.bodies() == ["1", "2", "3"]
    transaction.abort()
    assert consumer.credit == -1
    house.put("4")
    assert consumer.bodies() == []
    consumer.ack(key(1))
    consumer.ack(key(2))
    assert consumer.bodies() == ["4"]


def test_abort_takes_the_credit_back_before_it_is_used(
    house: House, transaction: Transaction
) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, 2)
    house.put("1", "2")
    transaction.ack(consumer, key(1))
    transaction.abort()
    house.put("3")
    assert consumer.bodies() == ["1", "2"]
    consumer.ack(key(2))
    assert consumer.bodies() == ["3"]


def test_client_holds_everything_before(house: House, transaction: Transaction) -> None:
    consumer = house.consume(CLIENT)
    house.put(*"1234")
    transaction.ack(consumer, key(3))
    with pytest.raises(Refusal):
        consumer.ack(key(2))
    transaction.commit()
    assert list(consumer.in_flight) == [key(4)]


def test_two_transactions_share_a_consumer(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put(*"12345")
    one, other = Transaction(house.broker.memory), Transaction(house.broker.memory)
    one.ack(consumer, key(2))
    other.ack(consumer, key(4))
    consumer.ack(key(5))
    with pytest.raises(Refusal):
        other.ack(consumer, key(1))
    one.abort()
    other.commit()
    assert list(consumer.in_flight) == [key(1), key(2)]
    consumer.ack(key(2))
    assert not consumer.in_flight


def test_again_in_the_same_transaction_is_no_fault(house: House, transaction: Transaction) -> None:
    """Cumulative acknowledgements overlap when a client sends one for each message."""
    consumer = house.consume(CLIENT)
    house.put(*"123")
    transaction.ack(consumer, key(3))
    transaction.ack(consumer, key(1))
    transaction.commit()
    assert not consumer.in_flight
    assert not house.journal


def test_a_wrong_verb_is_refused_at_once_and_leaves_no_trace(
    house: House, transaction: Transaction
) -> None:
    consumer = house.consume(CLIENT)
    house.put("1")
    with pytest.raises(Refusal):
        transaction.ack(consumer, key(9))
    with pytest.raises(Refusal):
        transaction.nack(consumer, key(9), True)
    transaction.commit()
    assert list(consumer.in_flight) == [key(1)]
    assert not consumer.held


@pytest.mark.parametrize("requeue", [False, True])
def test_a_refusal_is_done_at_commit(house: House, transaction: Transaction, requeue: bool) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("1")
    transaction.nack(consumer, key(1), requeue)
    assert house.queue(DEAD_LETTERS).waiting == 0
    transaction.commit()
    house.go_on()
    assert house.queue(DEAD_LETTERS).waiting == (0 if requeue else 1)
    assert consumer.bodies() == (["1", "1"] if requeue else ["1"])


def test_unsubscribe_gives_back_what_no_transaction_holds(
    house: House, transaction: Transaction
) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put(*"123")
    transaction.ack(consumer, key(2))
    consumer.close()
    assert house.consume().bodies() == ["1", "3"]
    transaction.commit()
    house.settle()
    assert house.queue().waiting == 0
    assert house.on_disk(house.queue()) == []
    assert not house.queue().owed


def test_abort_after_unsubscribe_gives_the_rest_back(
    house: House, transaction: Transaction
) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put(*"123")
    transaction.ack(consumer, key(2))
    transaction.nack(consumer, key(3), False)
    consumer.close()
    late = house.consume()
    assert late.bodies() == ["1"]
    assert house.queue().owed == {consumer}
    transaction.abort()
    house.go_on()
    assert [(each.body, each.redelivered) for each in late.got] == [("2", True), ("3", True)]
    assert not house.queue().owed


def test_a_lost_connection_gives_back_in_order_also_what_it_held(
    house: House, transaction: Transaction
) -> None:
    """All its consumers stop, its transactions are aborted, and then all goes back at once."""
    consumer = house.consume(CLIENT_INDIVIDUAL, 3)
    house.put(*"123")
    other = house.consume(CLIENT_INDIVIDUAL)
    transaction.ack(consumer, key(3))
    consumer.stop()
    transaction.abort()
    consumer.close()
    house.go_on()
    assert other.bodies() == ["1", "2", "3"]


def test_a_queue_with_messages_in_a_transaction_is_not_forgotten(
    house: House, transaction: Transaction
) -> None:
    consumer = house.consume(CLIENT)
    house.put("1")
    transaction.ack(consumer, key(1))
    consumer.close()
    for _ in range(3):
        house.broker.sweep()
    assert "a" in house.broker.routes.queues
    transaction.commit()
    for _ in range(3):
        house.broker.sweep()
    assert "a" not in house.broker.routes.queues


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("end", ["commit", "abort"])
def test_what_is_held_takes_memory_until_the_end(
    house: House, transaction: Transaction, durable: bool, end: str
) -> None:
    """A client that never commits cannot fill the broker unseen."""
    room = house.broker.memory.room
    transaction.send(lambda: None, 100, durable)
    transaction.send(lambda: None, 50, durable)
    assert house.broker.memory.room == room - 150 - 2 * STEP
    assert transaction.size == (150 if durable else 0)
    getattr(transaction, end)()
    assert house.broker.memory.room == room + STEP  # of the transaction itself
