"""Programs that call remote functions as fast as they are answered, one for each way to call.

Each runs in threads of its own and compares every answer with what is due. Knows the clients of `rpc`, and
nothing of clocks that are started and stopped, processes, or tables.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, gatherResults

import rpc
import rpc.aio
import rpc.tx
from broker.bench.checks import MeasurementError

SIZE = 100  # bytes of an argument, an answer, an item
FILLING = "x" * SIZE
SAMPLES = 100_000  # latencies kept at most
PATIENCE = 30.0  # seconds a call may take before it counts as lost


def numbered(number: int) -> str:
    """Return the argument, or item, with this number: no two in a row are the same."""
    return f"{number:010d}{FILLING}"[:SIZE]


class Callers:
    """Calls functions of one worker, with so many calls under way."""

    def __init__(self, url: str, service: str, flight: int) -> None:
        self.url = url
        self.service = service
        self.flight = flight
        self.seen: list[float] = []  # seconds each call took, while `counting`
        self.counting = False
        self.stopping = False
        self.failure = ""
        self._done = [
            0
        ]  # calls answered; whoever counts in a thread of its own has a place of its own
        self._threads = [threading.Thread(target=self._guarded)]

    @property
    def done(self) -> int:
        """How many calls were answered so far, with what was due."""
        return sum(self._done)

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the calls under way. Raises `MeasurementError` if one has failed."""
        self.stopping = True
        for thread in self._threads:
            thread.join()
        if self.failure:
            raise MeasurementError(self.failure)

    def run(self) -> None:
        """Call until `stopping`. Raises `MeasurementError`, and what the client raises."""
        raise NotImplementedError

    def _guarded(self) -> None:
        try:
            self.run()
        except Exception as error:  # whatever it is, it must not end a thread silently
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Note why there is no figure, and call no more."""
        if isinstance(error, rpc.RpcError):
            why = f"a call failed: {type(error).__name__}: {error}"
        elif isinstance(error, MeasurementError):
            why = str(error)
        else:
            why = f"{type(error).__name__}: {error}"
        self.failure = self.failure or why  # the first one: others follow from it

    def arguments(self) -> Iterator[str]:
        """Yield what is to be asked, until it is enough. For one thread."""
        number = 0
        while not (self.stopping or self.failure):
            yield numbered(number)
            number += 1

    def came(self, answer: object, due: str, begun: float, place: int = 0) -> None:
        """Count an answer to a call that began at `begun`. Raises `MeasurementError` if it is wrong."""
        compare(answer, due)
        self._done[place] += 1
        if self.counting and len(self.seen) < SAMPLES:
            self.seen.append(time.perf_counter() - begun)


def compare(answer: object, due: str) -> None:
    """Raise `MeasurementError` if an answer is not what was due."""
    if answer != due:
        raise MeasurementError(f"a call was answered with {answer!r} instead of {due!r}")


class Threads(Callers):
    """`call`, in as many threads as calls are to be under way."""

    def __init__(self, url: str, service: str, flight: int) -> None:
        super().__init__(url, service, flight)
        self._client = rpc.Client(url, service=service)
        self._done = [0] * flight
        self._places = iter(range(flight))
        self._threads = [threading.Thread(target=self._guarded) for _ in range(flight)]

    def run(self) -> None:
        """Call, in each of the threads."""
        place = next(self._places)
        call = self._client.call
        for argument in self.arguments():
            begun = time.perf_counter()
            answer = call("echo", argument, timeout=PATIENCE)
            self.came(answer, argument, begun, place)

    def stop(self) -> None:
        """Wait for the calls under way, and disconnect."""
        try:
            super().stop()
        finally:
            self._client.close()


class Futures(Callers):
    """`submit`, in one thread: the oldest answer is awaited before one more call begins."""

    def run(self) -> None:
        """Call."""
        under_way: deque[tuple[rpc.CallFuture, str, float]] = deque()
        with rpc.Client(self.url, service=self.service) as client:
            for argument in self.arguments():
                if len(under_way) == self.flight:
                    future, due, begun = under_way.popleft()
                    self.came(future.result(), due, begun)
                begun = time.perf_counter()
                future = client.submit("echo", argument, timeout=PATIENCE)
                under_way.append((future, argument, begun))
            for future, due, begun in under_way:
                self.came(future.result(), due, begun)


class Batches(Callers):
    """`map`, in one thread, with its batches of 100 and 4 of them under way."""

    def run(self) -> None:
        """Call."""
        asked: deque[str] = deque()

        def arguments() -> Iterator[str]:
            for argument in self.arguments():
                asked.append(argument)
                yield argument

        with rpc.Client(self.url, service=self.service) as client:
            for answer in client.map("echo", arguments(), timeout=PATIENCE):
                compare(answer, asked.popleft())
                self._done[0] += 1
        if asked and not self.failure:
            raise MeasurementError(f"{len(asked)} calls were never answered")


class Items(Callers):
    """`stream`, in one thread: what is counted is the items of one stream, with the usual credit."""

    def run(self) -> None:
        """Take items."""
        with (
            rpc.Client(self.url, service=self.service) as client,
            client.stream("numbers", timeout=PATIENCE) as items,
        ):
            for number, item in enumerate(items):
                compare(item, numbered(number))
                self._done[0] += 1
                if self.stopping:
                    return
        raise MeasurementError("the stream ended")


class Tasks(Callers):
    """asyncio: `await call`, in as many tasks as calls are to be under way."""

    def run(self) -> None:
        """Call."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        arguments = self.arguments()
        async with rpc.aio.Client(self.url, service=self.service) as client:
            await asyncio.gather(*(self._caller(client, arguments) for _ in range(self.flight)))

    async def _caller(self, client: rpc.aio.Client, arguments: Iterator[str]) -> None:
        for argument in arguments:
            begun = time.perf_counter()
            answer = await client.call("echo", argument, timeout=PATIENCE)
            self.came(answer, argument, begun)


class Deferreds(Callers):
    """Twisted: `await call`, in as many coroutines as calls are to be under way."""

    def run(self) -> None:
        """Call."""
        from twisted.internet import reactor  # to import it is to choose one

        if not isinstance(reactor, ReactorBase):
            raise TypeError("this reactor cannot be run in a thread")
        running = reactor

        def begin() -> None:
            Deferred.fromCoroutine(self._run()).addBoth(lambda _: running.stop())

        running.callWhenRunning(begin)
        running.run(installSignalHandlers=False)

    async def _run(self) -> None:
        arguments = self.arguments()
        client = rpc.tx.Client(self.url, service=self.service)
        try:
            callers = [self._caller(client, arguments) for _ in range(self.flight)]
            await gatherResults([Deferred.fromCoroutine(each) for each in callers])
        finally:
            await client.close()

    async def _caller(self, client: rpc.tx.Client, arguments: Iterator[str]) -> None:
        try:
            for argument in arguments:
                begun = time.perf_counter()
                answer = await client.call("echo", argument, timeout=PATIENCE)
                self.came(answer, argument, begun)
        except Exception as error:
            self.fail(error)


#: The ways to call, by the name that a row has for them.
WAYS: dict[str, type[Callers]] = {
    "threads": Threads,
    "submit": Futures,
    "map": Batches,
    "stream": Items,
    "aio": Tasks,
    "tx": Deferreds,
}
