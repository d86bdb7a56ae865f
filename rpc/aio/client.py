"""`Client` for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from types import TracebackType
from typing import Any, Self

from rpc.address import Address
from rpc.aio.host import LoopHost
from rpc.calling.broadcast import Answer
from rpc.calling.caller import (
    CALL,
    NOTIFICATION,
    Caller,
    broadcast,
    encode_params,
)
from rpc.calling.calls import Call, Kind
from rpc.calling.engine import Engine
from rpc.calling.items import Items
from rpc.calling.loopface import LoopFace
from rpc.calling.options import BROADCAST_TIMEOUT, UNSET, CallOptions, Unset
from rpc.errors import ConnectionLost
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address


class Pending(asyncio.Future[Any]):
    """A result to come. Whoever cancels it gives its call up."""

    __slots__ = ("call", "line")

    call: Call
    line: Line

    def cancel(self, msg: Any = None) -> bool:
        """Wait no longer. A callback for when it is done would cost each call a turn of the loop."""
        if not super().cancel(msg):
            return False
        self.line.forget(self.call)
        return True


class Line(LoopHost):
    """One client's connection, and who waits for its calls."""

    def __init__(
        self, address: Address, caller: Caller, heart_beat: float, connect_timeout: float
    ) -> None:
        super().__init__(address)
        self.engine = Engine(self, address, caller, heart_beat, connect_timeout)
        self.lifeline = self.engine.lifeline
        self._waiting: dict[Call, asyncio.Future[Any]] = {}
        self._ready: list[asyncio.Future[None]] = []  # who waits for a connection

    def submit(self, method: str, params: bytes, options: CallOptions, kind: Kind[Any]) -> Pending:
        """Begin a call."""
        return self.arrival(self.engine.begin(method, params, options, kind))

    def arrival(self, call: Call) -> Pending:
        """Return what is over when a call is, or when a stream has something to take."""
        future = self._waiting[call] = Pending(loop=self.loop)
        future.call = call
        future.line = self
        return future

    def reply(self, call: Call) -> asyncio.Future[Any]:
        """The same, for whoever says so (`forget`) when it waits no longer: an ordinary future costs less."""
        future = self._waiting[call] = self.loop.create_future()
        return future

    def forget(self, call: Call) -> None:
        """Nobody waits for a call any more."""
        self._waiting.pop(call, None)
        self.engine.forget(call)

    def drop(self, future: asyncio.Future[Any]) -> None:
        """Give a call up, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(future.cancel)

    def desert(self, items: Items) -> None:
        """Give a stream up, from any thread."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.engine.forget, items)

    async def connect(self) -> None:
        """Wait until there is a connection."""
        if not self.engine.is_open:
            ready = self.loop.create_future()
            self._ready.append(ready)
            self.engine.connect()
            await ready

    # rpc.calling.engine.ClientHost

    def ready(self, error: ConnectionLost | None) -> None:
        """Tell who waits for a connection that there is one, or why not."""
        ready, self._ready = self._ready, []
        for future in ready:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    def settle(self, calls: Iterable[Call]) -> None:
        """Tell who waits for these calls."""
        waiting = self._waiting
        for call in calls:
            future = waiting.pop(call, None)
            if future is not None and not future.done():
                try:
                    future.set_result(call.result())
                except Exception as error:
                    future.set_exception(error)


class Client(LoopFace):
    """Calls the functions of one service. Any number of tasks may use one client at once.

    It connects at the first call, and again after the connection was lost. One connection and one reply
    queue serve all calls.
    """

    _line: Callable[[], Line]

    def __init__(
        self,
        url: str,
        service: str,
        *,
        durable: bool = True,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """As `rpc.Client`. Raises `ValueError` for a URL or name that makes no sense."""
        super().__init__()
        address = read_address(url)
        caller = Caller(service, uuid.uuid4().hex, durable=durable)
        # Made at the first use, for then there is a loop.
        self._line = cache(lambda: Line(address, caller, heart_beat, connect_timeout))

    async def call(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Any:
        """Call a remote function and return its result. Raises as `rpc.Client.call`.

        Cancelled, it no longer waits for the reply, and the worker is told so; the function may have run.
        """
        line, options = self._line(), self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        call = line.engine.begin(method, params, options, CALL)
        try:
            return await line.reply(call)
        except asyncio.CancelledError:
            line.forget(call)
            raise

    def submit(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> asyncio.Future[Any]:
        """Begin a call and return the future of its result at once."""
        options = self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return self._line().submit(method, params, options, CALL)

    async def notify(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> None:
        """Let a remote function be called, and do not wait for it: nobody hears what becomes of it.

        Returns once the broker has confirmed that it has the call, on disk if the client is `durable`.
        """
        options = self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        await self._line().submit(method, params, options, NOTIFICATION)

    async def broadcast(
        self,
        method: str,
        /,
        *args: Any,
        first: int | None = None,
        timeout: float | None = BROADCAST_TIMEOUT,
        **kwargs: Any,
    ) -> list[Answer]:
        """Call a function of every worker of the service; as `rpc.Client.broadcast`."""
        kind, options = broadcast(first, timeout), self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        answers: list[Answer] = await self._line().submit(method, params, options, kind)
        return answers

    async def connect(self) -> None:
        """Connect now instead of at the first call. Raises `ConnectionLost` or `BrokerRefused`."""
        await self._line().connect()

    async def close(self) -> None:
        """Disconnect. Pending calls, and later ones, end with `ConnectionLost`."""
        self._line().engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
