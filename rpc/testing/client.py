"""The clients of all faces, over connections in memory.

What their methods mean is not written here a second time: they are the faces' own classes, with another line
below them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

from twisted.internet.defer import Deferred

import rpc.aio
import rpc.blocking
import rpc.tx
from rpc.address import parse_address
from rpc.aio.client import Line as AioLine
from rpc.blocking.future import CallFuture
from rpc.calling.caller import CALL, Caller, ClientStats
from rpc.calling.calls import C, Call, Kind
from rpc.calling.engine import Engine
from rpc.calling.items import Items
from rpc.calling.options import CallOptions
from rpc.errors import ConnectionLost
from rpc.link import CONNECT_TIMEOUT
from rpc.testing.wire import Plug
from rpc.testing.world import Host, World
from rpc.tx.client import Line as TxLine

URL = "stomp://rpc.testing"  # nobody connects there
ADDRESS = parse_address(URL)
FOREVER = float("inf")
NO_HEART_BEAT = 0.0  # a connection in memory is never silently dead


class Future(CallFuture):
    """The result of `Client.submit`. Whoever waits for it lets the clock go on."""

    def __init__(self, line: Line, call: Call) -> None:
        super().__init__(line, call)
        self._line = line

    def _wait(self, timeout: float | None) -> None:
        if not self.done():
            clock = self._line.world.clock
            self._line.wait_for(
                self._call, clock.seconds() + timeout if timeout is not None else None
            )


class Line(Host):
    """One blocking client's calls, and its connection: what `rpc.blocking.line.Line` is to its threads."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        super().__init__(world, party)
        self.engine = Engine(self, ADDRESS, caller, NO_HEART_BEAT, CONNECT_TIMEOUT)
        self.lifeline = self.engine.lifeline
        world.endings.append(self.engine.close)
        self._futures: dict[Call, Future] = {}
        self._failure: ConnectionLost | None = None  # of the last try to connect

    def begin(self, method: str, params: bytes, options: CallOptions, kind: Kind[C]) -> C:
        """Begin a call, over a connection."""
        self.world.clock.let_begin()
        if not self.engine.is_open:
            self.connected(options.timeout)
        return self.engine.begin(method, params, options, kind)

    def submit(self, method: str, params: bytes, options: CallOptions) -> Future:
        """Begin a call whose end somebody may be told of."""
        call = self.begin(method, params, options, CALL)
        future = self._futures[call] = Future(self, call)
        return future

    def finish(self, call: Call) -> Any:
        """Let happen what it takes until a call is done, and return its result."""
        try:
            self.wait_for(call, None)
        except BaseException:
            self.give_up(call)
            raise
        return call.result()

    def wait_for(self, call: Call, until: float | None) -> None:
        """Let happen what it takes until a call is done, or until a moment of the clock."""
        what = f"{call.method!r}, called by {self.party} without a timeout, is not done"
        self.world.clock.wait_for(lambda: call.done, what, until)

    def next_item(self, items: Items) -> Any:
        """Return the next item of a stream, or `END`."""
        self.engine.expect(items)
        self.wait_for(items, None)
        return self.engine.next_item(items)

    def attend(self) -> None:
        """Somebody will be called back: that happens as the clock goes on."""

    def give_up(self, call: Call) -> None:
        """Drop a call that nobody waits for."""
        self._futures.pop(call, None)
        self.engine.forget(call)

    def desert(self, call: Call) -> None:
        """Drop a call from a finalizer."""
        self.soon(lambda: self.give_up(call))

    def connected(self, patience: float | None) -> None:
        """Connect, within so many seconds. Raises `ConnectionLost`."""
        engine, clock = self.engine, self.world.clock
        if engine.is_open:
            return
        if engine.lifeline.closed:
            raise ConnectionLost("The client is closed", sent=False)
        self._failure = None
        engine.connect()
        clock.wait_for(
            lambda: engine.is_open or self._failure is not None,
            f"{self.party} is not connected",
            None if patience is None or patience == FOREVER else clock.seconds() + patience,
        )
        if not engine.is_open:
            failure = self._failure or ConnectionLost(
                "The broker did not answer in time", sent=False
            )
            raise type(failure)(failure.reason, sent=False)

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self.engine.stats()

    def close(self) -> None:
        """Disconnect, and end all calls."""
        self.engine.close()

    # rpc.calling.engine.ClientHost

    def ready(self, error: ConnectionLost | None) -> None:
        """There is a connection, or there is none."""
        self._failure = error

    def settle(self, calls: Iterable[Call]) -> None:
        """Calls are done."""
        for call in calls:
            future = self._futures.pop(call, None)
            if future is not None:
                future.settle()


class Client(rpc.blocking.Client):
    """`rpc.Client` in memory: a call lets the test's clock go on until it is done."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        super(rpc.blocking.Client, self).__init__()
        self._line = cast(Any, Line(world, party, caller))


class _AioLine(Plug, AioLine):
    """An asyncio client's, on a test's loop."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        if asyncio.get_running_loop() is not world.loop:
            raise RuntimeError("This client belongs to the test's event loop: use Broker.run")
        Plug.__init__(self, world.network, party)
        AioLine.__init__(self, ADDRESS, caller, NO_HEART_BEAT, CONNECT_TIMEOUT)
        world.endings.append(self.engine.close)
        self.now = world.clock.seconds
        self.wall = world.clock.wall
        self.chance = world.random.random


class AioClient(rpc.aio.Client):
    """`rpc.aio.Client` in memory, for coroutines that `Broker.run` runs, and functions of workers."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        super(rpc.aio.Client, self).__init__()
        self._line = cache(lambda: _AioLine(world, party, caller))


class _TxLine(Plug, TxLine):
    """A Twisted client's, on a test's clock."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        Plug.__init__(self, world.network, party)
        TxLine.__init__(self, world.clock, ADDRESS, caller, NO_HEART_BEAT, CONNECT_TIMEOUT)
        world.endings.append(self.engine.close)
        self._clock = world.clock
        self.now = world.clock.seconds
        self.wall = world.clock.wall
        self.chance = world.random.random

    def submit(
        self, method: str, params: bytes, options: CallOptions, kind: Kind[Any]
    ) -> Deferred[Any]:
        """Begin a call."""
        self._clock.let_begin()
        return super().submit(method, params, options, kind)


class TxClient(rpc.tx.Client):
    """`rpc.tx.Client` in memory: its Deferreds fire as the test's clock goes on."""

    def __init__(self, world: World, party: str, caller: Caller) -> None:
        super(rpc.tx.Client, self).__init__()
        self._line = cache(lambda: _TxLine(world, party, caller))
