"""A connection on an event loop, whoever's, that is made again when it is lost.

Clients and workers differ in what they say over it: that is the `Speaker`. The faces for asyncio and
Twisted differ in how bytes move and timers run: that is the `Host`. What is said in one pass of the loop
leaves together, unless it is much. Pure: time and chance come from the host.

    idle ──connect──> dialling ──opened──> shaking hands ──CONNECTED──> open
      ^                 │ failed             │ lost                      │ lost
      └─ nobody wants it ── resting <────────┴───────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from broker.stomp import Frame
from rpc.address import Address
from rpc.backoff import backoff
from rpc.errors import ConnectionLost
from rpc.link import Link

MOST_HELD = 16  # writes that leave together: broker and peer are to work meanwhile


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> Any:
        """Let it not happen."""


class Host(Protocol):
    """What a lifeline needs of the event loop it lives on."""

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
        """Begin to connect. Ends, later, in `Lifeline.opened` or `Lifeline.lost`."""

    def write(self, data: bytes) -> None:
        """Send over the connection."""

    def hang_up(self) -> None:
        """End the connection, or the try to make one; `Lifeline.lost` is not called for it."""


class Speaker(Protocol):
    """Who uses a lifeline."""

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first."""

    def begun(self) -> None:
        """The connection is open, and the greeting was sent."""

    def heard(self, frames: list[Frame]) -> None:
        """Frames have come."""

    def ended(self, error: ConnectionLost, was_open: bool, has_left: Callable[[int], bool]) -> bool:
        """The connection is lost, or could not be made; return whether to make another.

        `has_left` tells of a place that `send` returned whether it may have left.
        """


class Lifeline:
    """One speaker's connection, again and again."""

    def __init__(
        self, host: Host, speaker: Speaker, address: Address, heart_beat: float, patience: float
    ) -> None:
        """`heart_beat`: seconds, 0 for none; `patience`: seconds for TCP and CONNECT together."""
        self.connections = 0  # made so far
        self.closed = False
        self.link: Link | None = None  # while there is a connection, or one is tried
        self.is_open = False  # what is sent leaves at once
        self._host = host
        self._speaker = speaker
        self._address = address
        self._heart_beat = heart_beat
        self._patience = patience
        self._failures = 0  # tries to connect that failed in a row
        self._out: list[bytes] = []  # to be written at the end of this pass
        self._hearing = False  # the speaker is told something: what it says is written after that
        self._gathering = False  # at the end of this pass it is written anyway
        self._written = 0  # what was handed over has a lower place
        self._resting: Timer | None = None
        self._beat: Timer | None = None
        self._patient: Timer | None = None

    # What the speaker asks for.

    def connect(self) -> None:
        """Make a connection, unless there is one or one is tried."""
        if self.link is None and not self.closed:
            self._rest_no_longer()
            self.link = Link(self._address, self._heart_beat)
            self._patient = self._host.later(self._patience, self._give_up)
            self._host.dial()

    def see_to_it(self) -> None:
        """Make a connection, now or after the rest that is due."""
        if self._resting is None:
            self.connect()

    def send(self, data: bytes) -> int:
        """Let bytes leave with this pass at the latest, over the open connection; return their place."""
        out, place = self._out, self._written
        if not (out or self._hearing):
            self.gather()
        out.append(data)
        if len(out) >= MOST_HELD:
            self.flush()
        return place

    def gather(self) -> None:
        """Let what will be sent by those whose turn is next in this pass leave together, right after them."""
        if not self._gathering:
            self._gathering = True
            self._host.soon(self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self.flush()

    def flush(self) -> None:
        """Let what was sent leave now."""
        out, self._out = self._out, []
        if out and self.link is not None and self.is_open:
            self._written += 1
            self._host.write(b"".join(out))
            self.link.wrote(self._host.now())

    def close(self, reason: ConnectionLost) -> None:
        """Say goodbye, and end it for good."""
        if self.closed:
            return
        self.closed = True
        if self.link is not None and self.is_open:
            self.flush()
            self._host.write(self.link.disconnect())
        self.drop(reason)

    def drop(self, error: ConnectionLost, *, hangs_up: bool = True) -> None:
        """Give the connection up; make another if the speaker wants one."""
        was_open, written = self.is_open, self._written
        self.link = None
        self.is_open = False
        self._written = 0
        self._out.clear()
        self._stop_timers()
        if hangs_up:
            self._host.hang_up()
        wanted = self._speaker.ended(error, was_open, lambda place: place < written)
        if wanted and not self.closed and self.link is None:
            self._rest_no_longer()
            self._failures += 1
            wait = backoff(self._failures, self._host.chance())
            self._resting = self._host.later(wait, self._rested)

    # What the host tells.

    def opened(self) -> None:
        """TCP is connected."""
        if self.link is not None:
            self._host.write(self.link.connect(self._host.now()))

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        link = self.link
        if link is None:
            return
        try:
            frames = link.receive(data, self._host.now())
        except ConnectionLost as error:
            self.drop(error)
            return
        if link.open and not self.is_open:
            self._begin(link)
        if frames:
            self._hearing = True
            try:
                self._speaker.heard(frames)
            finally:
                self._hearing = False
                self.flush()

    def lost(self, error: ConnectionLost) -> None:
        """The connection has ended, or could not be made."""
        self.drop(error, hangs_up=False)

    # Its life.

    def _begin(self, link: Link) -> None:
        self._failures = 0
        self.connections += 1
        self.is_open = True
        if self._patient is not None:
            self._patient.cancel()
            self._patient = None
        self._host.write(self._speaker.greeting(link))
        self._keep_alive()
        self._speaker.begun()

    def _give_up(self) -> None:
        self._patient = None
        self.drop(
            ConnectionLost(f"{self._address} did not answer within {self._patience} s", sent=False)
        )

    def _rested(self) -> None:
        self._resting = None
        self.connect()

    def _rest_no_longer(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _keep_alive(self) -> None:
        """Send a heart-beat if one is due, and give up a connection that is silent."""
        self._beat = None
        link, now = self.link, self._host.now()
        if link is None:
            return
        try:
            beat = link.beat(now)
        except ConnectionLost as error:
            self.drop(error)
            return
        if beat:
            self._host.write(beat)
            link.wrote(now)
        check = link.next_check()
        if check is not None:
            self._beat = self._host.later(max(0.0, check - now), self._keep_alive)

    def _stop_timers(self) -> None:
        for timer in (self._patient, self._beat):
            if timer is not None:
                timer.cancel()
        self._patient = self._beat = None
