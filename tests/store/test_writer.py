"""Batches reach the store one at a time and in order, and a failure is never taken for a success."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from broker.core.journal import Batch
from broker.store import Stored, Writes
from broker.store.failing import FailingStore
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter, ThreadWriter, Writer, start_writer
from tests.store.conftest import SETTINGS
from tests.store.keeper import DEADLINE, put


class GatedStore(MemoryStore):
    """A store on a disk that is as slow as the test wants."""

    blocking = True

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.gate = threading.Semaphore(0)
        self.threads: set[str] = set()

    def write(self, batch: Writes) -> None:
        """Wait to be let through."""
        assert self.gate.acquire(timeout=DEADLINE)
        self.threads.add(threading.current_thread().name)
        super().write(batch)


class Reactor:
    """Runs what was posted, where the test lives."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def post(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def run_one(self) -> None:
        self._calls.get(timeout=DEADLINE)()

    @property
    def idle(self) -> bool:
        return self._calls.empty()


def batch(seq: int) -> Batch:
    return Batch(seq + 1, [(1, "a")], [], [put(1, seq)])


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
def heard() -> list[object]:
    return []


@pytest.fixture
def writer(store: GatedStore, reactor: Reactor, heard: list[object]) -> Iterator[ThreadWriter]:
    writer = ThreadWriter(store, reactor.post, heard.append)
    yield writer
    store.gate.release(100)
    writer.stop()


def test_a_store_that_blocks_gets_a_thread_and_another_none(reactor: Reactor) -> None:
    blocking = start_writer(GatedStore(), reactor.post, print)
    assert isinstance(blocking, ThreadWriter)
    blocking.stop()
    assert isinstance(start_writer(MemoryStore(SETTINGS), reactor.post, print), InlineWriter)


def test_done_comes_after_the_write_and_where_the_broker_lives(
    writer: ThreadWriter, store: GatedStore, reactor: Reactor, heard: list[object]
) -> None:
    writer.write(batch(1), lambda: heard.append(threading.current_thread()))
    assert reactor.idle
    assert store.read(1, 4, 0, 9, 99) == []
    store.gate.release()
    reactor.run_one()
    assert heard == [threading.current_thread()]
    assert [row[0] for row in store.read(1, 4, 0, 9, 99)] == [1]
    assert store.threads == {"store writer"}


def test_stop_waits_for_everything_handed_over(
    writer: ThreadWriter, store: GatedStore, reactor: Reactor, heard: list[object]
) -> None:
    for seq in (1, 2, 3):
        writer.write(batch(seq), lambda seq=seq: heard.append(seq))  # type: ignore[misc]
    store.gate.release(3)
    writer.stop()
    assert [row[0] for row in store.read(1, 4, 0, 9, 99)] == [1, 2, 3]
    for _ in range(3):
        reactor.run_one()
    assert heard == [1, 2, 3]


@pytest.mark.parametrize("kept", [False, True])
def test_after_a_failure_nothing_is_written_and_nothing_confirmed(
    reactor: Reactor, heard: list[object], kept: bool
) -> None:
    inner = GatedStore()
    inner.gate.release(100)
    writer = ThreadWriter(FailingStore(inner, 2, kept=kept), reactor.post, heard.append)
    for seq in (1, 2, 3):
        writer.write(batch(seq), lambda seq=seq: heard.append(seq))  # type: ignore[misc]
    reactor.run_one()
    reactor.run_one()
    with pytest.raises(OSError, match="Input/output error"):
        writer.stop()
    assert reactor.idle
    assert heard[0] == 1
    assert isinstance(heard[1], OSError)
    assert len(heard) == 2
    assert [row[0] for row in inner.read(1, 4, 0, 9, 99)] == [1, 2][: 1 + kept]


def test_inline_a_failure_is_told_and_not_confirmed(heard: list[object]) -> None:
    store = FailingStore(MemoryStore(SETTINGS), 2)
    assert isinstance(store.load(), Stored)
    writer: Writer = InlineWriter(store, heard.append)
    writer.write(batch(1), lambda: heard.append("done"))
    writer.write(batch(2), lambda: heard.append("done"))
    writer.stop()
    assert heard[0] == "done"
    assert isinstance(heard[1], OSError)
    assert len(heard) == 2


def test_a_written_batch_is_not_held(
    writer: ThreadWriter, store: GatedStore, reactor: Reactor
) -> None:
    """The messages of the last batch would stay in memory until the next, however late that comes."""
    import gc
    import weakref

    class Tracked(Batch):
        __slots__ = ("__weakref__",)

    tracked = Tracked(2, [(1, "a")], [], [put(1, 1)])
    gone = weakref.ref(tracked)
    done = threading.Event()
    writer.write(tracked, done.set)
    del tracked
    store.gate.release()
    reactor.run_one()
    writer.write(batch(2), done.set)
    store.gate.release()
    reactor.run_one()
    gc.collect()
    assert gone() is None
