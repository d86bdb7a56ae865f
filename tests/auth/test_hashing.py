"""Two threads for hashes: who is next, how many wait, and what becomes of a fault."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from broker.auth import hashing
from broker.auth.hashing import MOST, MOST_EACH, THREADS, Busy, Hashing
from tests.harness import DEADLINE


class Reactor:
    """Does in the test's thread what others call for."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Any] = queue.Queue()

    def call_from_thread(self, call: Any, *arguments: object) -> None:
        self._calls.put((call, arguments))

    def run_until(self, enough: Any) -> None:
        while not enough():
            call, arguments = self._calls.get(timeout=DEADLINE)
            call(*arguments)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Return what all work waits for."""
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def threads(reactor: Reactor) -> Iterator[Hashing]:
    made = Hashing(reactor.call_from_thread)
    yield made
    made.stop()


def test_one_of_each_address_in_turn(
    threads: Hashing, reactor: Reactor, gate: threading.Event
) -> None:
    """However many one of them sends."""
    done: list[str] = []

    def ask(address: str, name: str) -> None:
        threads.run(address, gate.wait).addCallback(lambda _: done.append(name))

    for number in range(THREADS + 3):
        ask("flood", f"flood {number}")
    ask("a", "a 0")
    ask("b", "b 0")
    ask("a", "a 1")
    gate.set()
    reactor.run_until(lambda: len(done) == THREADS + 6)
    order = sorted(done[THREADS:], key=done.index)
    late = {name: order.index(name) for name in order}
    assert late["a 0"] < late[f"flood {THREADS + 1}"]
    assert late["b 0"] < late[f"flood {THREADS + 1}"]
    assert late["a 1"] < late[f"flood {THREADS + 2}"]


def test_what_waits_is_bounded(threads: Hashing, reactor: Reactor, gate: threading.Event) -> None:
    """In all and for each address; when there is room again it goes on."""
    answers: list[bool] = []
    for _ in range(THREADS + MOST_EACH):
        threads.run("a", gate.wait).addCallback(answers.append)
    with pytest.raises(Busy):
        threads.run("a", gate.wait)
    for number in range(MOST - MOST_EACH):
        threads.run(f"{number}", gate.wait).addCallback(answers.append)
    with pytest.raises(Busy):
        threads.run("b", gate.wait)
    gate.set()
    reactor.run_until(lambda: len(answers) == THREADS + MOST)
    again: list[bool] = []
    threads.run("a", gate.wait).addCallback(again.append)
    reactor.run_until(lambda: again == [True])


def test_a_fault_is_told_to_who_asked(threads: Hashing, reactor: Reactor) -> None:
    def fail() -> bool:
        raise MemoryError("no memory for a hash")

    told: list[str] = []
    threads.run("a", fail).addErrback(lambda failure: told.append(failure.getErrorMessage()))
    threads.run("a", lambda: False).addCallback(lambda answer: told.append(f"{answer}"))
    reactor.run_until(lambda: len(told) == 2)
    assert sorted(told) == ["False", "no memory for a hash"]


def test_the_rest_of_the_broker_comes_first(threads: Hashing, reactor: Reactor) -> None:
    """Where threads have priorities of their own."""
    own: list[int] = []

    def look() -> bool:
        own.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    before = os.getpriority(os.PRIO_PROCESS, 0)
    threads.run("a", look)
    reactor.run_until(lambda: own)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    if sys.platform == "linux":
        assert own == [min(19, before + hashing.NICENESS)]
