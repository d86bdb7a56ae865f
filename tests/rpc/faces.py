"""The three faces of `rpc` behind one, the blocking one twice: each test of what they share is run with all.

A face is driven from the test's thread; what belongs to an event loop is done in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, cast
from urllib.parse import urlsplit

import stomp
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

import rpc
import rpc.aio
import rpc.tx
from tests.processes import PATIENCE


class Pending(Protocol):
    """A call under way."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its result."""

    def cancel(self) -> Any:
        """Wait for it no longer."""


class Row(Protocol):
    """What comes one after the other: the results of a map, the items of a stream."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def close(self) -> Any:
        """Take no more."""


class Face(Protocol):
    """A client of any of the faces."""

    def map(self, method: str, /, *iterables: Iterable[Any], **options: Any) -> Row:
        """Call for each, in batches."""

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Row:
        """Call what yields."""

    def taken(self, count: int, method: str, /, *args: Any) -> list[Any]:
        """Return so many items of a stream, having left its loop early."""

    def broadcast(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call every worker and wait."""

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call and wait."""

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Pending:
        """Call and do not wait."""

    def options(self, **changes: Any) -> Face:
        """Return the same with other options."""

    def through_proxy(self, method: str, /, *args: Any) -> Any:
        """Call through the proxy and wait."""

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call and let it be."""

    def connect(self) -> None:
        """Connect now."""

    def stats(self) -> rpc.ClientStats:
        """Return its counters."""

    def close(self) -> None:
        """Disconnect."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _Closing:
    """What a context manager of a face does."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Blocking(_Closing):
    """`rpc.Client`."""

    def __init__(self, *args: Any, client: rpc.Client | None = None, **kwargs: Any) -> None:
        self._client = client or rpc.Client(*args, **kwargs)
        self.call = self._client.call
        self.submit = self._client.submit
        self.notify = self._client.notify
        self.stream = self._client.stream
        self.broadcast = self._client.broadcast
        self.connect = self._client.connect
        self.stats = self._client.stats

    def options(self, **changes: Any) -> Blocking:
        return Blocking(client=self._client.options(**changes))

    def map(self, method: str, /, *iterables: Iterable[Any], **options: Any) -> Row:
        return self._client.map(method, *iterables, **options)

    def taken(self, count: int, method: str, /, *args: Any) -> list[Any]:
        items = []
        for item in self._client.stream(method, *args):
            items.append(item)
            if len(items) == count:
                break
        return items

    def through_proxy(self, method: str, /, *args: Any) -> Any:
        return getattr(self._client.proxy, method)(*args)

    def close(self) -> None:
        self._client.close()


class Riding(Blocking):
    """`rpc.Client` on a stomp.py connection, of a program that connects again whenever it is lost."""

    def __init__(self, url: str, service: str, **kwargs: Any) -> None:
        self._program = _Persistent(urlsplit(url).port)
        super().__init__(connection=self._program.connection, service=service, **kwargs)

    def close(self) -> None:
        super().close()
        self._program.leave()


class _Persistent(stomp.ConnectionListener):  # type: ignore[misc]
    """A program that is connected, and sees to it that it stays so, in a thread of its own."""

    def __init__(self, port: int | None) -> None:
        self.connection = stomp.Connection12([("127.0.0.1", port)], auto_decode=False)
        self.connection.set_listener("program", self)
        self._lost, self._leaves = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._stay_connected, daemon=True)
        self.connection.connect(wait=True)
        self._thread.start()

    def on_receiver_loop_completed(self, frame: Any) -> None:
        self._lost.set()

    def _stay_connected(self) -> None:
        transport = self.connection.transport
        while self._lost.wait() and not self._leaves.is_set():
            self._lost.clear()
            transport.io_thread.join(PATIENCE)
            # stomp.py gives up after some tries, and then there is no loop to be completed.
            while not self._leaves.is_set() and transport.socket is None:
                with contextlib.suppress(Exception):  # all sorts, if it is lost while it is made
                    self.connection.connect()

    def leave(self) -> None:
        self._leaves.set()
        self._lost.set()
        transport = self.connection.transport
        transport.disconnect_socket()
        self._thread.join(PATIENCE)
        transport.disconnect_socket()  # it may have been faster
        transport.io_thread.join(PATIENCE)


class _Row:
    """An asynchronous iterator as another thread may take from it."""

    def __init__(
        self, begin: Callable[[], Any], run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        async def start() -> Any:
            return begin()

        self._run = run
        self._row = run(start())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._row, _OVER)

        item = self._run(step())
        if item is _OVER:
            raise StopIteration
        return item

    def close(self) -> None:
        async def close() -> None:
            await self._row.aclose()

        self._run(close())


_OVER = object()


async def _taken(client: Any, count: int, method: str, args: tuple[Any, ...]) -> list[Any]:
    items = []
    async for item in client.stream(method, *args):
        items.append(item)
        if len(items) == count:
            break
    return items


class _Loop(_Closing):
    """What the faces for event loops have in common."""

    _client: Any

    def _wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        raise NotImplementedError

    def map(self, method: str, /, *iterables: Iterable[Any], **options: Any) -> Row:
        return _Row(lambda: self._client.map(method, *iterables, **options), self._wait_for)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Row:
        return _Row(lambda: self._client.stream(method, *args, **kwargs), self._wait_for)

    def taken(self, count: int, method: str, /, *args: Any) -> list[Any]:
        return cast(list[Any], self._wait_for(_taken(self._client, count, method, args)))

    def broadcast(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        async def ask() -> Any:
            return await self._client.broadcast(method, *args, **kwargs)

        return self._wait_for(ask())


class Aio(_Loop):
    """`rpc.aio.Client`, in a loop of its own thread."""

    def __init__(self, *args: Any, client: rpc.aio.Client | None = None, **kwargs: Any) -> None:
        self._client = client or rpc.aio.Client(*args, **kwargs)

    def _wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        return _in_asyncio(work).result(PATIENCE)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Pending:
        async def begin() -> Any:
            return await self._client.call(method, *args, **kwargs)

        return _in_asyncio(begin())

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result(PATIENCE)

    def options(self, **changes: Any) -> Aio:
        return Aio(client=self._client.options(**changes))

    def through_proxy(self, method: str, /, *args: Any) -> Any:
        async def begin() -> Any:
            return await getattr(self._client.proxy, method)(*args)

        return _in_asyncio(begin()).result(PATIENCE)

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return _in_asyncio(self._client.notify(method, *args, **kwargs)).result(PATIENCE)

    def connect(self) -> None:
        _in_asyncio(self._client.connect()).result(PATIENCE)

    def stats(self) -> rpc.ClientStats:
        async def ask() -> rpc.ClientStats:
            return cast(rpc.ClientStats, self._client.stats())

        return cast(rpc.ClientStats, _in_asyncio(ask()).result(PATIENCE))

    def close(self) -> None:
        _in_asyncio(self._client.close()).result(PATIENCE)


class _Deferred:
    """A Deferred as another thread may wait for it."""

    def __init__(self, begin: Callable[[], Deferred[Any]]) -> None:
        self._future: Future[Any] = Future()

        def start() -> None:
            self._deferred = begin()
            self._deferred.addCallbacks(self._future.set_result, self._fail)

        _in_twisted(start)

    def _fail(self, failure: Failure) -> None:
        self._future.set_exception(failure.value)

    def result(self, timeout: float | None = None) -> Any:
        return self._future.result(timeout)

    def cancel(self) -> None:
        _in_twisted(self._deferred.cancel)


class Tx(_Loop):
    """`rpc.tx.Client`, in the reactor, which runs in a thread."""

    def __init__(self, *args: Any, client: rpc.tx.Client | None = None, **kwargs: Any) -> None:
        self._client = client or rpc.tx.Client(*args, **kwargs)

    def _wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        return _Deferred(lambda: Deferred.fromCoroutine(work)).result(PATIENCE)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Pending:
        return _Deferred(lambda: self._client.submit(method, *args, **kwargs))

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result(PATIENCE)

    def options(self, **changes: Any) -> Tx:
        return Tx(client=self._client.options(**changes))

    def through_proxy(self, method: str, /, *args: Any) -> Any:
        return _Deferred(lambda: getattr(self._client.proxy, method)(*args)).result(PATIENCE)

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return _Deferred(lambda: self._client.notify(method, *args, **kwargs)).result(PATIENCE)

    def connect(self) -> None:
        _Deferred(self._client.connect).result(PATIENCE)

    def stats(self) -> rpc.ClientStats:
        return cast(rpc.ClientStats, _in_twisted(self._client.stats))

    def close(self) -> None:
        _Deferred(self._client.close).result(PATIENCE)


#: Those that make their connections.
DIALLING: dict[str, Callable[..., Face]] = {"blocking": Blocking, "aio": Aio, "tx": Tx}
FACES: dict[str, Callable[..., Face]] = DIALLING | {"riding": Riding}

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def _in_asyncio(work: Coroutine[Any, Any, Any]) -> Future[Any]:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(work, _loop)


def _in_twisted(work: Callable[[], Any]) -> Any:
    with _lock:
        reactor = cast(IReactorCore, the_reactor)
        if not reactor.running:
            started = threading.Event()
            cast(IReactorFromThreads, the_reactor).callFromThread(started.set)
            threading.Thread(
                target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
            ).start()
            assert started.wait(PATIENCE)
    return blockingCallFromThread(cast(IReactorFromThreads, the_reactor), work)
