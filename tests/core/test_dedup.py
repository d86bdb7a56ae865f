"""Ids of SENDs that came before, by the verbs of a house whose clock is turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import dedup as dedup_module
from broker.core.dedup import STORED_AS
from broker.core.policy import Policy
from broker.store.memory import MemoryStore
from tests.core.house import House

T = TypeVar("T")
NOW = 1_700_000_000_000
POLICY = Policy(dedup_window=5, dedup_seconds=10.0)
QUEUE = "/queue/a"


class Doorman(House):
    """A house that remembers ids."""

    def __init__(
        self, store: MemoryStore | None = None, now: int = NOW, memory_limit: int = 1 << 20
    ) -> None:
        super().__init__(store, memory_limit)
        self.broker.now = now
        self.dedup = self.broker.dedup

    def seen(
        self, id: str, policy: Policy = POLICY, durable: bool = True, destination: str = QUEUE
    ) -> bool:
        """Ask for an id, as a SEND does."""
        return self.dedup.seen(destination, id, policy, durable)

    def stored(self, destination: str = QUEUE) -> list[str]:
        """Return the ids on disk."""
        number = self.broker.routes.hidden(STORED_AS + destination)
        return [
            key.decode(errors="replace")
            for _, _, key in self.store.read(number, 4, 0, 1 << 30, 1 << 30)
        ]

    def restarted(self) -> Doorman:
        """Return the house after a kill."""
        return Doorman(self.store, self.broker.now)


@pytest.fixture
def house() -> Doorman:
    return Doorman()


def test_the_second_with_the_same_id_was_seen(house: Doorman) -> None:
    assert not house.seen("x")
    assert house.seen("x")
    assert house.seen("x")
    assert not house.seen("y")


def test_destinations_have_ids_of_their_own(house: Doorman) -> None:
    assert not house.seen("x")
    assert not house.seen("x", destination="/queue/b")
    assert house.seen("x")


def test_a_window_of_nothing_remembers_nothing(house: Doorman) -> None:
    for _ in range(2):
        assert not house.seen("x", Policy(dedup_window=0))
    assert not house.journal
    assert house.in_memory() == 0


@pytest.mark.parametrize("durable", [True, False])
def test_the_oldest_goes_when_the_window_is_full(house: Doorman, durable: bool) -> None:
    for id in "abcdef":
        assert not house.seen(id, durable=durable)
    assert all(house.seen(id) for id in "bcdef")
    house.settle()
    assert house.stored() == (list("bcdef") if durable else [])
    assert not house.seen("a")


@pytest.mark.parametrize("durable", [True, False])
def test_an_id_is_forgotten_with_time(house: Doorman, durable: bool) -> None:
    assert not house.seen("x", durable=durable)
    house.broker.now += 9_999
    assert house.seen("x", durable=durable)  # and asking makes it no younger
    house.broker.now += 1
    assert not house.seen("x", durable=durable)
    assert house.seen("x", durable=durable)
    house.settle()
    assert len(house.stored()) == durable


def test_without_seconds_only_the_number_counts(house: Doorman) -> None:
    policy = Policy(dedup_window=5, dedup_seconds=0)
    assert not house.seen("x", policy)
    house.broker.now += 10**12
    assert house.seen("x", policy)


def test_an_id_is_in_one_batch_with_its_message(house: Doorman) -> None:
    assert not house.seen("x")
    house.put("message")
    batch = house.begin_write()
    assert {tail for *_, tail in batch.puts} == {b"x", b"message"}


def test_ids_survive_a_kill_as_far_as_they_were_written(house: Doorman) -> None:
    for id in "abc":
        house.seen(id)
    house.seen("memory", durable=False)
    house.settle()
    house.seen("unwritten")
    house.broker.now += 5_000
    house = house.restarted()
    assert not house.seen("unwritten")
    assert not house.seen("memory")
    assert all(house.seen(id) for id in "abc")
    house.broker.now += 5_000
    assert not any(house.seen(id) for id in "abc")


def test_a_large_window_is_loaded_as_a_whole(
    house: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup_module, "WINDOW", 7)
    policy = Policy(dedup_window=100, dedup_seconds=10.0)
    ids = [f"id {number}" for number in range(100)]
    for id in ids:
        house.seen(id, policy)
    house.settle()
    house = house.restarted()
    assert all(house.seen(id, policy) for id in ids)
    assert not house.seen("one more", policy)
    assert not house.seen(ids[0], policy)


def test_a_window_made_smaller_gives_up_the_oldest(house: Doorman) -> None:
    for id in "abcde":
        house.seen(id)
    house.settle()
    house = house.restarted()
    assert not house.seen("f", Policy(dedup_window=2))
    house.settle()
    assert house.stored() == ["e", "f"]


def test_a_long_id_is_remembered_by_its_hash(house: Doorman) -> None:
    long = "ü" * 5000
    assert not house.seen(long)
    assert house.seen(long)
    assert not house.seen(long + "x")
    house.settle()
    house = house.restarted()
    assert house.seen(long)
    assert house.in_memory() < 1000
    assert not house.seen("x" * 254)
    assert not house.seen("x" * 255)
    assert not house.seen("x" * 256)
    house.settle()
    lengths = [len(id) for id in house.restarted().stored() if id.startswith("x")]
    assert lengths == [254, 255]


def test_ids_count_as_memory(house: Doorman) -> None:
    for id in "abcde":
        house.seen(id)
    assert house.in_memory() == 5 * (1 + dedup_module.COST)
    house.seen("f")
    assert house.in_memory() == 5 * (1 + dedup_module.COST)
    house.broker.now += 10_000
    house.dedup.sweep()
    assert house.in_memory() == 0


def test_a_window_does_not_grow_while_memory_is_full() -> None:
    house = Doorman(memory_limit=1000)
    policy = Policy(dedup_window=1000)
    for number in range(100):
        house.seen(str(number), policy)
        assert house.seen(str(number), policy)
    assert house.in_memory() <= 1000
    assert not house.seen("elsewhere", policy, destination="/queue/b")
    assert house.seen("elsewhere", policy, destination="/queue/b")


def test_the_sweep_forgets_what_is_too_old_and_leaves_no_trace(
    house: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup_module, "ONE_SWEEP", 2)
    for id in "abc":
        house.seen(id)
    house.broker.now += 5_000
    house.seen("d")
    house.settle()
    house.broker.now += 5_000
    house.dedup.sweep()
    house.settle()
    assert house.stored() == ["c", "d"]  # not too many at once
    house.dedup.sweep()
    house.settle()
    assert house.stored() == ["d"]
    house.broker.now += 5_000
    house.dedup.sweep()
    house.settle()
    assert house.stored() == []
    assert STORED_AS + QUEUE not in [queue.name for queue in house.store.load().queues]
    assert not house.seen("d")
    house.settle()
    assert house.restarted().seen("d")


def test_ids_that_come_slowly_do_not_pile_up(house: Doorman) -> None:
    policy = Policy(dedup_window=1000, dedup_seconds=1)
    for number in range(100):
        house.seen(str(number), policy)
        house.broker.now += 100
        house.settle()
    assert len(house.stored()) <= 11


# Random verbs beside a model.


class Machine:
    """One destination's ids, beside a list."""

    def __init__(self) -> None:
        self.house = Doorman()
        self.policy = POLICY
        self.ids: list[tuple[str, int, bool]] = []  # id, when it is over, is it stored
        self.written = self.being_written = list(self.ids)

    def send(self, choose: Choose) -> None:
        now = self.house.broker.now
        id, durable = choose("abcdefghijk"), choose((True, True, False))
        alive = [each for each in self.ids if each[1] > now]
        expected = id in [each[0] for each in alive]
        assert self.house.seen(id, self.policy, durable) is expected
        if not expected:
            lifetime = int(self.policy.dedup_seconds * 1000)
            others = [each for each in self.ids if each[0] != id]
            self.ids = [*others, (id, now + lifetime, durable)]
            while len(self.ids) > self.policy.dedup_window:
                self.ids.pop(0)

    def pass_time(self, choose: Choose) -> None:
        self.house.broker.now += choose((1, 1000, 5000))

    def sweep(self, choose: Choose) -> None:
        self.house.dedup.sweep()

    def begin_write(self, choose: Choose) -> None:
        if self.house.on_the_way is None:
            self.being_written = [each for each in self.ids if each[2]]
            self.house.begin_write()

    def end_write(self, choose: Choose) -> None:
        if self.house.on_the_way is not None:
            self.house.end_write()
            self.written = self.being_written

    def kill(self, choose: Choose) -> None:
        self.house = self.house.restarted()
        self.ids = list(self.written)


class Choose:
    """Chooses one of several, as the bytes of a program say."""

    def __init__(self, program: bytes) -> None:
        self.bytes = iter(program)

    def __call__(self, pool: Sequence[T]) -> T:
        return pool[next(self.bytes, 0) % len(pool)]


STEPS = (
    *[Machine.send] * 10,
    *[Machine.pass_time] * 2,
    *[Machine.begin_write, Machine.end_write] * 2,
    Machine.sweep,
    Machine.kill,
)


@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(program=st.binary(min_size=100, max_size=400))
def test_an_id_is_seen_if_it_is_in_the_window(program: bytes) -> None:
    choose = Choose(program)
    machine = Machine()
    for byte in choose.bytes:
        step = STEPS[byte % len(STEPS)]
        note(step.__name__)
        step(machine, choose)
    machine.house.broker.now += 1_000_000
    machine.house.dedup.sweep()
    machine.house.settle()
    assert machine.house.stored() == []
    assert machine.house.in_memory() == 0
