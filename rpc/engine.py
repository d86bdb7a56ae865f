"""A client's connection on an event loop, whoever's: when it is made, lost, made again, and what is sent.

The faces for asyncio and Twisted differ only in how bytes move, timers run and waiters are told: that is
their `Host`. Bytes of one pass of the loop leave together. Pure: time and chance come from the host.

    idle ──begin──> dialling ──opened──> shaking hands ──CONNECTED──> open
      ^                │ failed             │ lost                      │ lost
      └── no call is left ─── resting <─────┴───────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rpc.address import Address
from rpc.backoff import backoff
from rpc.caller import Caller, CallOptions, ClientStats
from rpc.calls import Call
from rpc.errors import ConnectionLost
from rpc.link import Link, refusal

TICK = 0.01  # seconds by which a deadline may be missed


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> Any:
        """Let it not happen."""


class Host(Protocol):
    """What an engine needs of the event loop it lives on."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return seconds since 1970."""

    def chance(self) -> float:
        """Return a number from 0 to 1, another one each time."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call a function after a while."""

    def soon(self, call: Callable[[], None]) -> Any:
        """Call a function at the end of this pass of the loop."""

    def dial(self) -> None:
        """Begin to connect. Ends, later, in `Engine.opened` or `Engine.lost`."""

    def write(self, data: bytes) -> None:
        """Send over the connection."""

    def hang_up(self) -> None:
        """End the connection, or the try to make one; `Engine.lost` is not called for it."""

    def ready(self, error: ConnectionLost | None) -> None:
        """Tell who waits for a connection that there is one, or why there is none."""

    def settle(self, calls: Iterable[Call]) -> None:
        """Tell who waits for these calls that they are done."""


class Engine:
    """The calls of one client, and the connection they go over."""

    def __init__(
        self, host: Host, address: Address, caller: Caller, heart_beat: float, patience: float
    ) -> None:
        """`heart_beat`: seconds, 0 for none; `patience`: seconds for TCP and CONNECT together."""
        self.caller = caller
        self.connections = 0  # made so far
        self._host = host
        self._address = address
        self._heart_beat = heart_beat
        self._patience = patience
        self._link: Link | None = None  # while there is a connection, or one is tried
        self._closed = False
        self._failures = 0  # tries to connect that failed in a row
        self._out: list[bytes] = []  # to be written at the end of this pass
        self._written = 0  # calls whose bytes were handed over have a lower place
        self._resting: Timer | None = None
        self._timers: dict[str, tuple[float, Timer]] = {}  # what for → when, and the timer

    @property
    def is_open(self) -> bool:
        """True while calls can be sent at once."""
        return self._link is not None and self._link.open

    # What the face asks for.

    def begin(
        self, method: str, params: bytes, options: CallOptions, *, notifies: bool = False
    ) -> Call:
        """Begin a call; it is sent at the end of this pass, or once there is a connection.

        `notifies`: see `Caller.open`.
        """
        if self._closed:
            raise ConnectionLost("The client is closed", sent=False)
        now = self._host.now()
        call = self.caller.open(method, params, options, now, self._host.wall(), notifies=notifies)
        self._send(call)
        if call.deadline is not None:
            self._set_timer("deadline", call.deadline, self._expire)
        return call

    def connect(self) -> None:
        """Make a connection, unless there is one or one is tried."""
        if self._link is None and not self._closed:
            self._rest_no_longer()
            self._link = Link(self._address, self._heart_beat)
            self._set_timer("connect", self._host.now() + self._patience, self._give_up)
            self._host.dial()

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self.caller.stats(self.connections)

    def forget(self, call: Call) -> None:
        """Nobody waits for a call any more."""
        self.caller.calls.forget(call)

    def close(self) -> None:
        """End the connection and all calls."""
        if self._closed:
            return
        self._closed = True
        if self._link is not None and self._link.open:
            self._flush()
            self._host.write(self._link.disconnect())
        self._drop(ConnectionLost("The client was closed", sent=True), hangs_up=True)

    # What the host tells.

    def opened(self) -> None:
        """TCP is connected."""
        if self._link is not None:
            self._host.write(self._link.connect(self._host.now()))

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        link = self._link
        if link is None:
            return
        was_open = link.open
        try:
            frames = link.receive(data, self._host.now())
        except ConnectionLost as error:
            self._drop(error, hangs_up=True)
            return
        if link.open and not was_open:
            self._begin_talking(link)
        if frames:
            if done := self.caller.take(frames):
                self._host.settle(done)
            for frame in frames:
                if frame.command == "ERROR":  # which call it is about nobody knows: none may hang
                    self._drop(refusal(frame), hangs_up=True)
                    return

    def lost(self, error: ConnectionLost) -> None:
        """The connection has ended, or could not be made."""
        self._drop(error, hangs_up=False)

    # A connection.

    def _begin_talking(self, link: Link) -> None:
        self._failures = 0
        self.connections += 1
        self._stop_timer("connect")
        self._host.write(self.caller.greeting(link))
        for call in self.caller.calls.to_send():
            self._send(call)
        self._keep_alive()
        self._host.ready(None)

    def _send(self, call: Call) -> None:
        """Let a call leave with this pass, if there is a connection; else see that there will be one."""
        if self._link is not None and self._link.open:
            if not self._out:
                self._host.soon(self._flush)
            self._out.append(call.data)
            call.place = self._written
        else:
            call.place = NOWHERE
            if self._resting is None:
                self.connect()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._link is not None and self._link.open:
            self._written += 1
            self._host.write(b"".join(out))
            self._link.wrote(self._host.now())

    def _drop(self, error: ConnectionLost, hangs_up: bool) -> None:
        """Give the connection up; end the calls that do not outlive it, connect again for the others."""
        was_open = self.is_open
        self._link = None
        self._out.clear()
        self._stop_timer("connect")
        self._stop_timer("beat")
        if hangs_up:
            self._host.hang_up()
        written, self._written = self._written, 0
        calls = self.caller.calls
        if was_open or self._closed:
            ended = calls.interrupt(error, lambda place: place < written, not self._closed)
        else:
            ended = calls.refuse(error)
        self._host.settle(ended)
        self._host.ready(error)
        if len(calls) and not self._closed and self._link is None:
            self._failures += 1
            wait = backoff(self._failures, self._host.chance())
            self._resting = self._host.later(wait, self._rested)

    def _give_up(self) -> None:
        self._drop(
            ConnectionLost(f"{self._address} did not answer within {self._patience} s", sent=False),
            hangs_up=True,
        )

    def _rested(self) -> None:
        self._resting = None
        if len(self.caller.calls):
            self.connect()

    def _rest_no_longer(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    # Time.

    def _keep_alive(self) -> None:
        """Send a heart-beat if one is due, and give up a connection that is silent."""
        link = self._link
        if link is None or not link.open:
            return
        try:
            beat = link.beat(self._host.now())
        except ConnectionLost as error:
            self._drop(error, hangs_up=True)
            return
        if beat:
            self._host.write(beat)
            link.wrote(self._host.now())
        check = link.next_check()
        if check is not None:
            self._set_timer("beat", check, self._keep_alive)

    def _expire(self) -> None:
        self._host.settle(self.caller.calls.expire(self._host.now()))
        deadline = self.caller.calls.next_deadline()
        if deadline is not None:
            self._set_timer("deadline", max(deadline, self._host.now() + TICK), self._expire)

    def _set_timer(self, what: str, when: float, call: Callable[[], None]) -> None:
        """Call a function at a moment, unless it is called earlier anyway."""
        current = self._timers.get(what)
        if current is not None:
            if current[0] <= when:
                return
            current[1].cancel()

        def run() -> None:
            del self._timers[what]
            call()

        self._timers[what] = when, self._host.later(max(0.0, when - self._host.now()), run)

    def _stop_timer(self, what: str) -> None:
        current = self._timers.pop(what, None)
        if current is not None:
            current[1].cancel()


NOWHERE = 1 << 62  # the place of a call that was not written
