"""Frames that have begun to arrive and not ended, of all connections together: how much memory they take.

A frame may be large, and there may be thousands of connections. While all unfinished frames together take more than
they may, those that are large are not read on, but for the one that began first: it has all the memory it needs, and
when it is done the next one has. So everybody gets his turn, and nobody waits for somebody who is not read from.
Small frames, and with them heart-beats and acknowledgements, always arrive.

A large frame must make progress: see `Connection`. Else the first one could keep the others waiting for ever.

Knows no sockets, no STOMP and no clock.
"""

from __future__ import annotations

from typing import Protocol

LARGE = 64 * 1024  # bytes: more than one packet's worth; a frame must also grow so much in time
FEW = 16  # who are read from again at once


class Reader(Protocol):
    """Whoever reads from a client."""

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""

    def resume_reading(self) -> None:
        """Go on."""


class Arriving:
    """The bytes of all unfinished frames."""

    def __init__(self, most: int) -> None:
        """`most`: bytes, which may be passed by one large frame and many small ones."""
        self.bytes = 0
        self._most = most
        #: Those with a large frame, in the order in which these began → is it paused?
        self._large: dict[Reader, bool] = {}

    def keep(self, reader: Reader, size: int, before: int) -> None:
        """Somebody now keeps `size` bytes of an unfinished frame, `before` until now; 0: none."""
        self.bytes += size - before
        if size > LARGE:
            self._large.setdefault(reader, False)
            if self.bytes > self._most:
                self._pause(reader)
        elif before > LARGE:
            if self._large.pop(reader, False):
                reader.resume_reading()
            self._go_on()

    def leave(self, reader: Reader, before: int) -> None:
        """Somebody is read from no more, paused or not."""
        self.bytes -= before
        if self._large.pop(reader, None) is not None:
            self._go_on()

    def _pause(self, reader: Reader) -> None:
        if reader is not next(iter(self._large)) and not self._large[reader]:
            self._large[reader] = True
            reader.pause_reading()

    def _go_on(self) -> None:
        """Let the first go on in any case, and a few more if there is room."""
        resumed = 0
        for reader, is_paused in [*self._large.items()]:
            if is_paused:
                self._large[reader] = False
                reader.resume_reading()
                resumed += 1
            if resumed == FEW or self.bytes > self._most:
                return
