"""Two threads that look at passcodes, and who is next: one of each address in turn.

Whoever sends a flood of logins waits for his own; a login from elsewhere is next. What waits is bounded, and so is the
memory that hashes take. The threads are nice to the rest of the broker: clients that are connected come first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

THREADS = 2
MOST, MOST_EACH = 256, 128  # that wait, in all and of one address: with 40 ms each some seconds
NICENESS = 5

Work = Callable[[], bool]


class Busy(Exception):
    """Too many wait already: come again."""


class Hashing:
    """Does what takes a while, elsewhere."""

    def __init__(self, call_from_thread: Callable[..., object]) -> None:
        """`call_from_thread` calls a function with arguments in the reactor's thread."""
        self._call_from_thread = call_from_thread
        self._pool = ThreadPoolExecutor(THREADS, "passcodes", _be_nice)
        self._waiting: OrderedDict[str, deque[tuple[Work, Deferred[bool]]]] = OrderedDict()
        self._size = 0  # of all that wait
        self._running = 0

    def run(self, address: str, work: Work) -> Deferred[bool]:
        """Return what `work` will return, done in a thread when it is the turn of this address. Raises `Busy`."""
        mine = self._waiting.get(address, ())
        if self._size >= MOST or len(mine) >= MOST_EACH:
            raise Busy
        done: Deferred[bool] = Deferred()
        self._waiting.setdefault(address, deque()).append((work, done))
        self._size += 1
        self._go_on()
        return done

    def stop(self) -> None:
        """Begin nothing more; nobody waits for an answer."""
        self._waiting.clear()
        self._size = 0
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _go_on(self) -> None:
        while self._waiting and self._running < THREADS:
            address, mine = self._waiting.popitem(last=False)
            work, done = mine.popleft()
            if mine:
                self._waiting[address] = mine  # behind the others
            self._size -= 1
            self._running += 1
            self._pool.submit(self._do, work, done)

    def _do(self, work: Work, done: Deferred[bool]) -> None:
        """In a thread."""
        try:
            result: bool | Failure = work()
        except Exception:
            result = Failure()
        self._call_from_thread(self._done, done, result)

    def _done(self, done: Deferred[bool], result: bool | Failure) -> None:
        self._running -= 1
        self._go_on()
        done.callback(result)  # a failure calls the errbacks


def _be_nice() -> None:
    """Lower the priority of this thread, where threads have one of their own and may do so."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
