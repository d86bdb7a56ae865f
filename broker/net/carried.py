"""A connection whose bytes somebody else carries: HTTP, or whatever a transport of yours is made of.

It stands between a `Connection` and the carrier, as a `Stream` stands between one and a socket:

    carrier: `feed` what has come ─▶ Connection ─▶ `write` ─▶ kept here ─▶ `take`: what is to be carried

While the connection cannot take more (`is_open_to_more`), the carrier keeps what has come. A
carrier that has lost the other end says so (`end`); docs/write-a-transport.md is the page about writing one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from broker.errors import StompError
from broker.net.stream import House
from broker.net.wall import time_of_day
from broker.peering.dialled import Dialled
from broker.turn import Turn


class Carried:
    """One connection without a socket."""

    def __init__(
        self, house: House, address: str, changed: Callable[[], None], name: str = ""
    ) -> None:
        """`changed` is called when there is something to carry, or can be fed, or all is over; soon, not at once.

        `name` is that in the certificate of the other end, if the carrier has verified one.
        """
        self.address = address
        self._name = name
        self.is_over = False  # nothing comes any more
        self.is_open_to_more = True
        self._house = house
        self._turn = house.turn
        self._changed = changed
        self._told = False  # `changed` will be called
        self._out: deque[bytes] = deque()
        self._size = 0  # bytes in there
        self._closing = False
        self._begin()
        self._connection = house.open_connection(self)

    # What the carrier does.

    def feed(self, data: bytes) -> None:
        """Bytes have come from the other end."""
        if not self.is_over:
            self._begin()
            self._connection.data(data)

    def take(self, most: int) -> bytes:
        """Return what is to be carried next, about `most` bytes of it at most."""
        pieces, size = [], 0
        while self._out and size < most:
            piece = self._out.popleft()
            if len(piece) > most - size:
                self._out.appendleft(piece[most - size :])
                piece = piece[: most - size]
            pieces.append(piece)
            size += len(piece)
        if size:
            self._size -= size
            self._begin()
            self._connection.unsent(self._size)
        if self._closing and not self._out:
            self.end()
        return b"".join(pieces)

    @property
    def has_output(self) -> bool:
        """True when there is something to carry."""
        return bool(self._out)

    def end(self, why: str = "") -> None:
        """The other end is gone, or everything is said. `why`: what the operator is told if it was a link that we dialled."""
        if not self.is_over:
            self.is_over = True
            self._begin()
            if why and isinstance(self._connection, Dialled):
                self._connection.explain(why)
            self._connection.lost()
            self._house.forget(self)
            self._out.clear()
            self._tell()

    # broker.connection.Transport

    def write(self, data: bytes) -> None:
        """Keep what is to be carried."""
        if not self.is_over:
            self._out.append(data)
            self._size += len(data)
            self._connection.unsent(self._size)
            self._tell()

    def pause_reading(self) -> None:
        """Take nothing for now."""
        self.is_open_to_more = False

    def resume_reading(self) -> None:
        """Go on."""
        self.is_open_to_more = True
        self._tell()

    def move(self, turn: Turn) -> None:
        """Begin this turn from now on: the client is at another virtual host."""
        self._turn = turn
        self._begin()

    def close(self) -> None:
        """End when what was written has been carried."""
        self._closing = True
        self._tell()
        if not self._out:
            self._house.call_later(0, self.end)

    def abort(self) -> None:
        """End now; not in the midst of what the connection is doing."""
        self._house.call_later(0, self.end)

    # What the broker does to all of them.

    def say_goodbye(self) -> None:
        """The broker stops: hear no more, say what is owed."""
        self._connection.end_of_input(died=False)

    def certificate_name(self) -> str:
        """Return the name in the certificate of the other end, "" without one."""
        return self._name

    def dismiss(self, error: StompError) -> None:
        """End the link with an ERROR."""
        self._begin()
        self._connection.dismiss(error)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._house.call_later(0, self._tell_now)

    def _tell_now(self) -> None:
        self._told = False
        self._changed()

    def _begin(self) -> None:
        self._turn.begin(time.monotonic(), time_of_day())
