"""What a connection has to say at the end of the turn, in order."""

from __future__ import annotations

from collections.abc import Callable


class Outbox:
    """Bytes that leave together."""

    __slots__ = ("bulky", "pieces", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called by whoever puts the first piece in."""
        self.wake = wake
        self.pieces: list[bytes] = []  # always the same list: those who deliver hold on to it
        self.bulky = False  # some piece is so large that it should not be copied once more

    def say(self, data: bytes) -> None:
        """Add a piece."""
        if not self.pieces:
            self.wake()
        self.pieces.append(data)

    def empty_into(self, write: Callable[[bytes], None]) -> None:
        """Hand everything to `write`, at once unless something large is among it."""
        pieces = self.pieces
        if self.bulky:
            self.bulky = False
            for piece in pieces:
                write(piece)
            pieces.clear()
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        write(data)
