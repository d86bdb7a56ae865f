"""Time as a list of what will happen: nothing waits for it, it jumps from one thing to the next.

For Twisted it is a reactor's time (`IReactorTime`). What is due at the same moment happens in the order in
which it was asked for, so two runs of the same program are the same. Knows no calls and no broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass

from twisted.internet import task
from twisted.internet.base import DelayedCall

START = 946_684_800.0  # seconds since 1970 at which every test begins: 2000-01-01, midnight UTC
MOST = 1_000_000  # moments after which something that has not come will not come
MOST_AT_ONCE = (
    10_000_000  # things that happen at one moment before it is believed that it has no end
)


class Stuck(Exception):
    """What a test waits for can never come: nothing is left to happen, or the same happens over and over."""


@dataclass(slots=True)
class Chore:
    """What is done as time passes, but is no reason for time to pass."""

    every: float  # seconds
    due: float
    call: Callable[[], None]


class Clock(task.Clock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.in_loop = False  # an event loop is in the middle of something: nobody may wait
        self._context = copy_context()  # what happens belongs to nobody's call
        self._chores: list[Chore] = []
        self._at_once = 0  # things that happened at this moment
        self._first: deque[tuple[Callable[[], None], Callable[[], bool]]] = deque()

    def wall(self) -> float:
        """Return seconds since 1970; `seconds()` counts from 0."""
        return START + self.rightNow

    def advance(self, amount: float) -> None:
        """Let so many seconds pass, and happen what is due meanwhile.

        In a plain function that a worker runs: the function takes so long. Raises `RuntimeError` in an async
        one, which awaits `asyncio.sleep`, and `ValueError` for a negative time.
        """
        if amount < 0:
            raise ValueError(f"Time does not go back: {amount}")
        self.let_begin()
        target = self.rightNow + amount
        self._pass(target)
        self._jump(target)
        self._pass(target)  # what the chores asked for

    def _pass(self, target: float) -> None:
        while self.step(
            max(target, self.rightNow)
        ):  # it may be later: a function has taken its time
            pass

    def step(self, until: float | None = None) -> bool:
        """Let the next thing happen, the clock jumps there; False if there is none (before `until`, in it)."""
        self._check_free()
        self._sortCalls()
        if not self.calls or (until is not None and self.calls[0].getTime() > until):
            return False
        self._jump(self.calls[0].getTime())  # chores may have asked for something, but for later
        self._at_once += 1
        if self._at_once > MOST_AT_ONCE:
            raise Stuck(f"Second {self.rightNow} never ends: {self.calls[0]}")
        call = self.calls.pop(0)
        call.called = 1
        self._context.copy().run(call.func, *call.args, **call.kw)
        return True

    def wait_for(self, is_done: Callable[[], bool], what: str, until: float | None = None) -> bool:
        """Let happen what it takes; False if something is not done at the moment `until`.

        `what` says what for, to whom it never comes. Raises `Stuck`, and `RuntimeError` as `advance` does.
        """
        self.let_begin()
        before, moments = self.rightNow, 0
        while not is_done():
            if not self.step(until):
                if until is None:
                    raise Stuck(f"Nothing is left to happen, and {what}")
                self._jump(until)
                return is_done()
            if self.rightNow > before:
                before, moments = self.rightNow, moments + 1
                if moments > MOST:
                    raise Stuck(f"After {before:.0f} seconds {what}")
        return True

    def at_first(self, begin: Callable[[], None], has_begun: Callable[[], bool]) -> None:
        """Let something begin before anything else happens, but not yet: its owner is not done with it."""
        self._first.append((begin, has_begun))

    def let_begin(self) -> None:
        """Let it begin, in no time. Raises `RuntimeError` as `advance` does."""
        self._check_free()
        while self._first:
            begin, has_begun = self._first.popleft()
            begin()
            while not has_begun() and self.step(self.rightNow):
                pass

    def every(self, seconds: float, call: Callable[[], None]) -> Chore:
        """Do something as time passes; of several times that are jumped over only the last is had."""
        chore = Chore(seconds, self.rightNow + seconds, call)
        self._chores.append(chore)
        return chore

    def no_longer(self, chore: Chore) -> None:
        """Do it no more."""
        self._chores.remove(chore)

    def clear(self) -> None:
        """Let nothing happen any more."""
        self.calls.clear()
        self._chores.clear()
        self._first.clear()

    def callFromThread(self, call: Callable[[], None]) -> None:
        """Twisted: call a function soon."""
        self.callLater(0, call)

    def _jump(self, when: float) -> None:
        if when <= self.rightNow:
            return
        self.rightNow = when
        self._at_once = 0
        for chore in tuple(self._chores):
            if chore.due <= when:
                chore.due = when + chore.every
                chore.call()

    def _check_free(self) -> None:
        if self.in_loop:
            raise RuntimeError(
                "An async function cannot wait like this, its event loop would stand still:"
                " await asyncio.sleep, or a call of Broker.aio_client"
            )

    calls: list[DelayedCall]
