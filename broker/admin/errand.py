"""What takes many turns, written down as one coroutine that gives way to others.

A method of the broker's is an `async def`. Where it has done enough for one go it says `await turn()` and gets the
reader of the store, or `await written()` if what it looks for is still on its way there. No event loop is behind
that: an `Errand` resumes its coroutine when the broker has another go for it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator

from broker.core.broker import Broker
from broker.core.lane import Read

#: What a coroutine waits for: called with the errand, which is to `resume` once that has happened. None: its turn.
Wait = Callable[["Errand"], None] | None
Steps = Coroutine[Wait, Read, None]


@types.coroutine
def turn() -> Generator[Wait, Read, Read]:
    """Let others have their turn, if it is late; return the reader of the store, good until the next `await`."""
    return (yield None)


@types.coroutine
def until(happens: Callable[[Callable[[], None]], None]) -> Generator[Wait, Read, Read]:
    """Go on when something happens: `happens` is given a function that says that it has, to be called once."""
    return (yield lambda errand: happens(errand.resume))


@types.coroutine
def written() -> Generator[Wait, Read, Read]:
    """Go on when what is on its way to the store is there."""
    return (yield Errand.starve)


async def durable(broker: Broker) -> None:
    """Go on when everything done so far is on disk, as far as it belongs there."""
    place = broker.next_seq
    broker.next_seq += 1
    while broker.committed < place:
        await written()


class Errand:
    """One coroutine on its way."""

    def __init__(self, broker: Broker, steps: Steps) -> None:
        """It begins at the end of the turn."""
        self._broker = broker
        self._steps: Steps | None = steps
        self._begun = False
        self._at_it = False
        self.resume()

    def resume(self) -> None:
        """What it has waited for has happened."""
        if self._steps is not None:
            self._broker.again[self] = None

    def starve(self) -> None:
        """It waits for what is being written."""
        self._broker.starving[self] = None

    def cancel(self) -> None:
        """Do no more of it, unless it is just being done: then it is too late."""
        if self._steps is not None and not self._at_it:
            steps, self._steps = self._steps, None
            steps.close()

    def go_on(self, read: Read) -> None:
        """Do some of it. Raises what the coroutine raises."""
        steps = self._steps
        if steps is None:
            return
        self._at_it, wait = True, None
        try:
            wait = self._go(steps, read)
        except BaseException:
            self._steps = None
            raise
        finally:
            self._at_it = False
        if wait is not None:
            wait(self)

    def _go(self, steps: Steps, read: Read) -> Wait:
        """Do some of it; return what it waits for, None if it has ended."""
        try:
            if self._begun:
                wait = steps.send(read)
            else:
                self._begun = True
                wait = steps.send(None)  # type: ignore[arg-type]  # as it must begin
            while wait is None:
                if self._broker.late:
                    return Errand.resume
                wait = steps.send(read)
            return wait
        except StopIteration:
            self._steps = None
            return None
