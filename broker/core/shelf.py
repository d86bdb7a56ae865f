"""Messages in order of their sequence numbers, any number of them: quick to find, put in and take out.

They stand in blocks of some hundreds. What happens anywhere but at the ends moves one block's messages and
no others, so a hundred thousand of them cost no more than a few. Knows no queue and no store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from operator import attrgetter

from broker.core.message import Message

BLOCK = 500  # messages; twice as many are cut in two
NEWEST = 1 << 63  # newer than any message

#: Returns a message's place.
sequence = attrgetter("seq")


class Shelf:
    """Messages in order."""

    __slots__ = ("_blocks", "_from")

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        """`messages` are in order."""
        self._blocks: list[list[Message]] = []  # none is empty
        self._from: list[
            int
        ] = []  # a block has what is not older than this, and older than the next
        for message in messages:
            self.append(message)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __iter__(self) -> Iterator[Message]:
        return chain.from_iterable(self._blocks)

    @property
    def oldest(self) -> Message:
        """The first one, if there is any."""
        return self._blocks[0][0]

    def append(self, message: Message) -> None:
        """Put the newest message in its place."""
        if self._blocks and len(block := self._blocks[-1]) < BLOCK:
            block.append(message)
        else:
            self._blocks.append([message])
            self._from.append(message.seq)

    def add(self, message: Message) -> None:
        """Put any message in its place."""
        blocks, seq = self._blocks, message.seq
        if not blocks or seq > blocks[-1][-1].seq:
            self.append(message)
            return
        at = self._block_of(seq)
        block = blocks[at]
        block.insert(bisect_left(block, seq, key=sequence), message)
        self._from[at] = min(self._from[at], seq)
        if len(block) > 2 * BLOCK:
            blocks[at : at + 1] = block[:BLOCK], block[BLOCK:]
            self._from.insert(at + 1, block[BLOCK].seq)

    def add_oldest(self, messages: list[Message]) -> None:
        """Put messages, in order, before all others."""
        if self._blocks:
            self._from[0] = self.oldest.seq
        blocks = [messages[start : start + BLOCK] for start in range(0, len(messages), BLOCK)]
        self._blocks[:0] = blocks
        self._from[:0] = [block[0].seq for block in blocks]

    def find(self, seq: int) -> Message | None:
        """Return a message if it is here."""
        if not self._blocks:
            return None
        block = self._blocks[self._block_of(seq)]
        index = bisect_left(block, seq, key=sequence)
        return block[index] if index < len(block) and block[index].seq == seq else None

    def take(self, seq: int) -> bool:
        """Take a message out; False if it is not here."""
        if not self._blocks:
            return False
        at = self._block_of(seq)
        block = self._blocks[at]
        index = bisect_left(block, seq, key=sequence)
        if index == len(block) or block[index].seq != seq:
            return False
        del block[index]
        self._drop_if_empty(at)
        return True

    def after(self, place: int, count: int, limit: int) -> list[Message]:
        """Return the first `count` messages after a place, as far as they are not after `limit`."""
        found: list[Message] = []
        for block in islice(self._blocks, self._block_of(place), None):
            start = 0 if found else bisect_right(block, place, key=sequence)
            found += block[start : start + count - len(found)]
            if len(found) == count or block[-1].seq > limit:
                break
        return up_to(limit, found)

    def pop(self, count: int, limit: int) -> list[Message]:
        """Take out the first `count` messages, as far as they are not after `limit`."""
        found: list[Message] = []
        while self._blocks and len(found) < count and self.oldest.seq <= limit:
            block = self._blocks[0]
            some = up_to(limit, block[: count - len(found)])
            found += some
            del block[: len(some)]
            self._drop_if_empty(0)
        return found

    def _block_of(self, seq: int) -> int:
        """Return the number of the block where a message stands if it is here."""
        return max(0, bisect_right(self._from, seq) - 1)

    def _drop_if_empty(self, at: int) -> None:
        if not self._blocks[at]:
            del self._blocks[at], self._from[at]


def up_to(limit: int, messages: list[Message]) -> list[Message]:
    """Return those of some messages, in order, that are not after a limit."""
    if not messages or messages[-1].seq <= limit:
        return messages
    return messages[: bisect_right(messages, limit, key=sequence)]
