"""Numbered frames as ready bytes: what a load generator sends, and what must come back for it.

A frame is written once as a pattern with a place for its number (`PLACE`, in a header, in the body, or
both). A block of up to a thousand frames is then one `bytes.replace`, and any run of frames one slice:
about 0.1 µs a frame, where formatting each costs several times that. Several patterns make a round of
frames that share a number: what they differ in is written in the patterns.

Knows nothing of sockets or brokers.
"""

from __future__ import annotations

PLACE = b"@@@@@@@@@@"  # stands in a pattern where the number goes
DIGITS = len(PLACE)
BLOCK_BYTES = 512 * 1024  # a block of large frames holds fewer of them
LARGEST_BLOCK = 3  # decimal digits: a thousand frames

# Not "@" and not "#", which mark places; no NUL, which ends a frame.
LETTERS = bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(ord("a"), ord("z") + 1))


def number(value: int) -> bytes:
    """Return a number as it stands in a frame: ten digits."""
    return b"%010d" % value


def filler(size: int) -> bytes:
    """Return the `size` bytes that follow the number in a body."""
    return (LETTERS * (size // len(LETTERS) + 1))[:size]


class Numbered:
    """The endless sequence of frames that one pattern gives, or several in turn, as bytes.

    With several patterns the first round has the number 0 in all its frames, the second the number 1.
    """

    def __init__(self, *patterns: bytes) -> None:
        """All patterns must be equally long."""
        self.size = len(patterns[0])  # bytes of one frame
        round_ = b"".join(patterns)
        digits = LARGEST_BLOCK
        while digits and 10**digits * len(round_) > BLOCK_BYTES:
            digits -= 1
        self.block_length = 10**digits * len(patterns)  # frames
        self._pieces = round_.split(PLACE)
        self._epoch_mark = b"#" * (DIGITS - digits)
        self._block = b""
        if digits:
            numbers = [self._epoch_mark + b"%0*d" % (digits, i) for i in range(10**digits)]
            self._block = b"".join([item.join(self._pieces) for item in numbers])
        self._made: dict[int, bytes] = {}  # the two blocks made last, by epoch

    def slice(self, start: int, stop: int) -> bytes:
        """Return the frames from the one at `start` to the one before `stop`, counted from 0."""
        length = self.block_length
        epoch, first = divmod(start, length)
        if stop <= (epoch + 1) * length:
            return self._epoch(epoch)[first * self.size : (first + stop - start) * self.size]
        parts = []
        while start < stop:
            epoch, first = divmod(start, length)
            end = min(stop, (epoch + 1) * length)
            parts.append(self._epoch(epoch)[first * self.size : (end - epoch * length) * self.size])
            start = end
        return b"".join(parts)

    def _epoch(self, epoch: int) -> bytes:
        block = self._made.get(epoch)
        if block is None:
            if len(self._made) > 1:
                del self._made[next(iter(self._made))]
            mark = self._epoch_mark
            value = b"%0*d" % (len(mark), epoch)
            block = self._block.replace(mark, value) if self._block else value.join(self._pieces)
            self._made[epoch] = block
        return block
