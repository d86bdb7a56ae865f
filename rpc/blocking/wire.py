"""A STOMP link on a TCP stream, for threads: what `Client` and `Worker` share.

Joins `Stream` (bytes, sockets) to `Link` (STOMP) and gives both the clock. Whoever calls `pump` keeps
the heart-beats, too: as long as somebody pumps, the broker hears from us and its silence is noticed.
Knows nothing of calls.
"""

from __future__ import annotations

from time import monotonic

from broker.stomp import Frame
from rpc.address import Address
from rpc.blocking.stream import Stream
from rpc.errors import ConnectionLost
from rpc.link import Link


class Wire:
    """An open link. Verbs of `link` make bytes, `write` sends them, `pump` brings what came."""

    def __init__(self, address: Address, *, heart_beat: float, timeout: float) -> None:
        """Connect and shake hands within `timeout` seconds.

        Raises `ConnectionLost`, or `BrokerRefused` if the broker answered ERROR; `sent` is False.
        """
        self._heard = monotonic()  # when bytes last came
        until = self._heard + timeout
        self.link = Link(address, heart_beat)
        try:
            self.stream = Stream(address.host, address.port, timeout, address.tls)
        except (OSError, ValueError) as error:  # of values: files of TLS that have changed
            raise ConnectionLost(f"No connection to {address}: {error}", sent=False) from error
        self._check = float("inf")  # no heart-beat has anything to do before
        try:
            self.stream.write(self.link.connect(self._heard))
            while not self.link.open:
                if monotonic() >= until:
                    raise ConnectionLost(f"{address} did not answer CONNECT", sent=False)
                self.pump(until)
        except ConnectionLost as error:
            self.close()
            error.sent = False
            raise
        except BaseException:
            self.close()
            raise
        self._set_check()

    def write(self, data: bytes, *, held: bool = False) -> int:
        """Send soon, from any thread; return the place in the stream, for `has_left`. `held`: see `Stream`."""
        place = self.stream.write(data, held=held)
        self.link.wrote(monotonic())
        return place

    def has_left(self, place: int) -> bool:
        """Tell whether any of the bytes written at `place` may have left this process."""
        return self.stream.has_left(place)

    def pump(self, until: float) -> list[Frame] | None:
        """Wait until the moment `until` for bytes, and return the frames they complete, if any.

        None if no bytes came in time, or `wake` was called, or it is time to pump again.

        One thread at a time. Raises `ConnectionLost` when the connection has ended.
        """
        try:
            data = self.stream.read((until if until < self._check else self._check) - monotonic())
        except OSError as error:
            raise ConnectionLost(
                f"The connection to the broker is lost: {error}", sent=True
            ) from error
        now = monotonic()
        frames = None
        if data:
            self._heard = now
            frames = self.link.receive(data, now)
        if now >= self._check:
            beat = self.link.beat(now)
            if beat:
                self.write(beat)
            self._set_check()
        return frames

    def _set_check(self) -> None:
        check = self.link.next_check()
        self._check = float("inf") if check is None else check

    def idle_for(self) -> float:
        """Return for how many seconds nothing has been heard."""
        return monotonic() - self._heard

    @property
    def next_check(self) -> float:
        """The moment by which somebody must pump again, infinite without heart-beats."""
        return self._check

    def wake(self) -> None:
        """Let the thread that pumps return."""
        self.stream.wake()

    def close(self) -> None:
        """End the connection; the thread that pumps, if any, gets `ConnectionLost`."""
        self.stream.close()
