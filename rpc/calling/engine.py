"""The calls of one client on an event loop, whoever's, over a lifeline.

The faces for asyncio and Twisted differ only in how waiters are told: that is their `ClientHost`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from broker.stomp import Frame
from rpc.address import Address
from rpc.calling.caller import Caller, ClientStats
from rpc.calling.calls import C, Call, Kind
from rpc.calling.items import Items
from rpc.calling.options import CallOptions
from rpc.errors import ConnectionLost
from rpc.lifeline import Host, Lifeline, Timer
from rpc.link import Link

TICK = 0.01  # seconds by which a deadline may be missed
NEVER = float("inf")
NOWHERE = 1 << 62  # the place of a call that was not written


class ClientHost(Host, Protocol):
    """What an engine needs of the face it serves."""

    def ready(self, error: ConnectionLost | None) -> None:
        """Tell who waits for a connection that there is one, or why there is none."""

    def settle(self, calls: Iterable[Call]) -> None:
        """Tell who waits for these calls that they are done."""


class Engine:
    """A client's calls: begun, sent when there is a connection, ended."""

    def __init__(
        self,
        host: ClientHost,
        address: Address,
        caller: Caller,
        heart_beat: float,
        patience: float,
    ) -> None:
        """As `Lifeline`."""
        self.caller = caller
        self.lifeline = Lifeline(host, self, address, heart_beat, patience)
        self._host = host
        self._due = NEVER  # when calls are next looked through for what is overdue
        self._timer: Timer | None = None  # that does it

    @property
    def is_open(self) -> bool:
        """True while calls can be sent at once."""
        return self.lifeline.is_open

    # What the face asks for.

    def begin(self, method: str, params: bytes, options: CallOptions, kind: Kind[C]) -> C:
        """Begin a call; it is sent at the end of this pass, or once there is a connection."""
        lifeline, host = self.lifeline, self._host
        if lifeline.closed:
            raise ConnectionLost("The client is closed", sent=False)
        now = host.now()
        call = self.caller.open(method, params, options, now, host.wall(), kind)
        if lifeline.is_open:
            call.place = lifeline.send(call.data)
        else:
            call.place = NOWHERE
            lifeline.see_to_it()
        deadline = call.deadline
        if deadline is not None and deadline < self._due:
            self._watch(deadline, now)
        return call

    def connect(self) -> None:
        """Make a connection, unless there is one or one is tried."""
        self.lifeline.connect()

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self.caller.stats(self.lifeline.connections)

    def forget(self, call: Call) -> None:
        """Nobody waits for a call any more: its worker is told."""
        self._say(self.caller.give_up(call))

    def expect(self, items: Items) -> None:
        """Somebody begins to wait for a stream's next item."""
        now = self._host.now()
        items.expect(now)
        if items.deadline is not None and items.deadline < self._due:
            self._watch(items.deadline, now)

    def next_item(self, items: Items) -> Any:
        """Return a stream's next item, or `END`; raises how it failed. Once it is `done`."""
        item = items.next()
        self._say(self.caller.renew(items))
        return item

    def close(self) -> None:
        """End the connection and all calls."""
        self.lifeline.close(ConnectionLost("The client was closed", sent=True))

    def _say(self, word: bytes) -> None:
        if word and self.lifeline.is_open:
            self.lifeline.send(word)

    # rpc.lifeline.Speaker

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first."""
        return self.caller.greeting(link)

    def begun(self) -> None:
        """The connection is open."""
        for call in self.caller.calls.to_send():
            call.place = self.lifeline.send(call.data)
        self._host.ready(None)

    def heard(self, frames: list[Frame]) -> None:
        """Replies have come."""
        refused = self.caller.refused(frames)
        if done := self.caller.take(frames):
            self._host.settle(done)
        if refused is not None:
            self.lifeline.drop(refused)

    def ended(self, error: ConnectionLost, was_open: bool, has_left: Callable[[int], bool]) -> bool:
        """End the calls that do not outlive the connection; the others want another one."""
        calls, closed = self.caller.calls, self.lifeline.closed
        if was_open or closed:
            over = calls.interrupt(error, has_left, not closed)
        else:
            over = calls.refuse(error)
        self._host.settle(over)
        self._host.ready(error)
        return len(calls) > 0

    # Time.

    def _watch(self, deadline: float, now: float) -> None:
        """See that calls are ended by a moment that is before what is looked after anyway."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = deadline
        self._timer = self._host.later(max(0.0, deadline - now), self._expire)

    def _expire(self) -> None:
        self._due, self._timer = NEVER, None
        now = self._host.now()
        self._host.settle(self.caller.calls.expire(now))
        deadline = self.caller.calls.next_deadline()
        if deadline is not None:
            self._watch(max(deadline, now + TICK), now)
