"""What has expired and nobody takes: found in memory and behind it, in goes, and looked for only in time."""

from __future__ import annotations

import pytest

from broker.core import expiry as expiry_module
from broker.core import lane as lane_module
from broker.core.lane import NEVER
from broker.core.policy import DEAD_LETTERS, Policies
from broker.core.queue import Queue
from broker.core.subscription import CLIENT, CLIENT_INDIVIDUAL
from broker.core.temporary import TempQueue
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from tests.core.house import Consumer, House, key
from tests.core.test_queue import SECOND, numbers

DROP = Policies([(">", {"expired": "discard"})])


class CountingStore(MemoryStore):
    """A store that counts the records it was asked for."""

    def __init__(self) -> None:
        super().__init__(StoreSettings())
        self.looked_at = 0

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        rows = super().read(queue, priority, after, count, size)
        self.looked_at += len(rows)
        return rows


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def house(store: CountingStore) -> House:
    return House(store, policies=DROP)


@pytest.fixture(autouse=True)
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages of a lane are in memory, in these tests, and five are read in a go."""
    monkeypatch.setattr(lane_module, "WINDOW", 10)
    monkeypatch.setattr(expiry_module, "ONE_GO", 5)


def sweep(house: House, now: int) -> None:
    """Let it be a later time, and look what has expired."""
    house.broker.now = now
    house.broker.sweep()
    house.settle()


def waiting(house: House, queue: Queue | None = None) -> list[str]:
    """Return what waits in a queue, by consuming it."""
    consumer = house.consume(of=queue)
    house.settle()
    consumer.close()
    return consumer.bodies()


def test_what_has_expired_behind_the_window_goes_without_a_consumer(house: House) -> None:
    for number in range(1, 101):
        house.put(str(number), expires=5 * SECOND if number % 2 else 0)
    house.settle()
    sweep(house, 5 * SECOND)
    assert house.queue().waiting == 50
    assert house.queue().expired == 50
    assert len(house.on_disk(house.queue())) == 50
    assert waiting(house) == [str(number) for number in range(2, 101, 2)]


def test_it_is_a_dead_letter_unless_the_policy_drops_it(store: CountingStore) -> None:
    house = House(store)
    house.put(*numbers(1, 30), expires=5 * SECOND)
    house.settle()
    sweep(house, 5 * SECOND)
    letters = house.queue(DEAD_LETTERS)
    assert (house.queue().waiting, letters.waiting) == (0, 30)
    bodies = waiting(house, letters)
    assert [body.rpartition("}")[2] for body in bodies] == numbers(1, 30)
    assert "'dlqDeliveryFailureCause': 'expired'" in bodies[0]
    assert f"'originalExpiration': '{5 * SECOND}'" in bodies[0]


def test_nobody_looks_before_something_may_have_expired(house: House, store: CountingStore) -> None:
    """A backlog whose messages live until tomorrow is not read every time."""
    house.put(*numbers(1, 50), expires=90 * SECOND)
    house.put("soon", expires=50 * SECOND)
    house.settle()
    sweep(house, 49 * SECOND)
    assert store.looked_at == 0
    sweep(house, 50 * SECOND)
    assert house.queue().waiting == 50
    looked_at = store.looked_at
    assert looked_at >= 40
    sweep(house, 89 * SECOND)
    assert store.looked_at == looked_at
    sweep(house, 90 * SECOND)
    assert house.queue().waiting == 0


def test_a_backlog_in_which_nothing_expires_is_looked_through_once(store: CountingStore) -> None:
    """After a start nobody knows; then it is known until such a message comes."""
    before = House(store)
    before.put(*numbers(1, 50))
    before.settle()
    house = House(store, policies=DROP)
    sweep(house, SECOND)
    assert store.looked_at == 50
    sweep(house, 2 * SECOND)
    assert store.looked_at == 50
    assert [lane.soonest for lane in house.queue().lanes] == [NEVER]
    house.put("51", expires=3 * SECOND)
    house.settle()
    sweep(house, 3 * SECOND)
    assert house.queue().waiting == 50
    assert waiting(house) == numbers(1, 50)


def test_what_comes_during_a_walk_is_known_afterwards(house: House) -> None:
    house.put(*numbers(1, 40), expires=SECOND)
    house.settle()
    house.broker.now = SECOND
    house.broker.sweep()
    house.broker.go_on(house.store.read)
    house.put("late", expires=2 * SECOND)
    house.settle()
    assert house.queue().waiting == 1
    sweep(house, 2 * SECOND)
    assert house.queue().waiting == 0


def test_a_consumer_may_drain_what_is_looked_through(house: House) -> None:
    """Nobody gets anything twice, nothing is lost, and what was taken out stays out."""
    for number in range(1, 61):
        house.put(str(number), expires=SECOND if 20 <= number < 50 else 0)
    house.settle()
    house.broker.now = SECOND
    house.broker.sweep()
    house.broker.go_on(house.store.read)
    house.broker.go_on(house.store.read)
    consumer = house.consume(CLIENT, 7)
    seen: list[str] = []
    while len(seen) < 30:
        house.settle()
        seen += consumer.bodies()
        consumer.ack_all()
    assert seen == [*numbers(1, 19), *numbers(50, 60)]
    house.settle()
    assert house.queue().waiting == 0
    assert house.on_disk(house.queue()) == []


def test_what_is_on_its_way_to_the_store_is_waited_for(house: House) -> None:
    house.put(*numbers(1, 30), expires=SECOND)
    house.begin_write()
    house.broker.now = SECOND
    house.broker.sweep()
    house.go_on()
    assert house.queue().waiting == 20
    house.end_write()
    house.settle()
    assert house.queue().waiting == 0
    assert house.on_disk(house.queue()) == []


def test_one_sweep_reads_so_much_and_the_next_goes_on_there(
    house: House, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_module, "ONE_SWEEP", 20)
    house.put(*numbers(1, 60), expires=SECOND)
    house.settle()
    for left in (30, 10, 0):
        looked_at = store.looked_at
        sweep(house, SECOND)
        assert store.looked_at - looked_at <= 25
        assert house.queue().waiting == left


def test_others_get_their_turn(house: House) -> None:
    house.put(*numbers(1, 100), expires=SECOND)
    house.settle()
    house.broker.now = SECOND
    house.broker.sweep()
    queue, goes = house.queue(), 0
    while queue.expired < 100:
        before = queue.expired
        house.broker.go_on(house.store.read)
        assert 0 < queue.expired - before <= 5
        goes += 1
    assert goes >= 20
    assert queue.waiting == 0


def test_a_queue_is_not_idle_while_it_has_what_expired(house: House) -> None:
    """Forgotten, it would leave records behind that nobody knows."""
    house.put(*numbers(1, 100), expires=SECOND, durable=False)
    house.broker.now = SECOND
    house.broker.sweep()
    house.broker.go_on(house.store.read)
    queue = house.queue()
    assert 0 < queue.expired < 100
    assert queue.expired + queue.waiting == 100
    assert not queue.idle


def test_what_is_taken_meanwhile_expires_once(house: House) -> None:
    """By a consumer who comes while it is being given up."""
    house.put(*numbers(1, 100), expires=SECOND, durable=False)
    house.broker.now = SECOND
    house.broker.sweep()
    house.broker.go_on(house.store.read)
    consumer = Consumer(house.queue())
    house.queue().join(consumer)
    house.queue().feed(consumer)
    house.settle()
    assert (house.queue().expired, house.queue().waiting, consumer.got) == (100, 0, [])


def test_every_lane_and_every_queue_is_looked_through(house: House) -> None:
    for name in "abc":
        for priority in range(10):
            house.put(*numbers(1, 3), to=house.queue(name), priority=priority, expires=SECOND)
            house.put("stays", to=house.queue(name), priority=priority)
    house.settle()
    sweep(house, SECOND)
    assert [house.queue(name).waiting for name in "abc"] == [10, 10, 10]


def test_what_waits_among_stored_ones_in_memory_goes_too(house: House) -> None:
    house.put(*numbers(1, 20))
    house.put("21", durable=False, expires=SECOND)
    house.put("22")
    house.settle()
    sweep(house, SECOND)
    assert house.in_memory() == 0
    assert waiting(house) == [*numbers(1, 20), "22"]


def test_what_was_given_back_goes_too_whoever_is_served_next(house: House) -> None:
    """Also while somebody chooses, and nobody wants it."""
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("1", "2", expires=SECOND)
    house.consume(wants=lambda message: False)
    consumer.close()
    house.settle()
    assert house.queue().waiting == 2
    sweep(house, SECOND)
    assert house.queue().waiting == 0
    assert house.on_disk(house.queue()) == []


def test_what_a_selective_consumer_passed_goes_too(house: House) -> None:
    consumer = house.consume(wants=lambda message: message.tail == b"wanted")
    house.put(*numbers(1, 40), expires=SECOND)
    house.put("wanted")
    house.settle()
    assert consumer.bodies() == ["wanted"]
    sweep(house, SECOND)
    assert house.queue().waiting == 0
    house.put("wanted")
    house.settle()
    assert consumer.bodies() == ["wanted"]


def test_a_temporary_queue_is_looked_through_and_may_end_meanwhile(house: House) -> None:
    queue = house.broker.routes.temporary("t", False)
    ended = house.broker.routes.temporary("u", False)
    assert isinstance(queue, TempQueue)
    assert isinstance(ended, TempQueue)
    house.put(*numbers(1, 3), to=queue, expires=SECOND)
    house.put(*numbers(1, 3), to=ended, expires=SECOND)
    house.broker.now = SECOND
    house.broker.sweep()
    house.broker.routes.end(ended)
    house.settle()
    assert queue.waiting == ended.waiting == 0
    assert house.in_memory() == 0


def test_what_is_in_a_consumers_hands_stays_there(house: House) -> None:
    consumer = house.consume(CLIENT)
    house.put("1", expires=SECOND)
    sweep(house, SECOND)
    consumer.ack(key(1))
    house.settle()
    assert house.on_disk(house.queue()) == []
