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

    __slots__ = ("_blocks", "_newest")

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        """`messages` are in order."""
        self._blocks: list[list[Message]] = []  # none is empty
        self._newest: list[int] = []  # seq of each block's last
        for message in messages:
            self.add(message)

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

    def add(self, message: Message) -> None:
        """Put a message in its place."""
        blocks, newest, seq = self._blocks, self._newest, message.seq
        if newest and seq < newest[-1]:
            at = bisect_left(newest, seq)
            block = blocks[at]
            block.insert(bisect_left(block, seq, key=sequence), message)
            if len(block) > 2 * BLOCK:
                blocks[at : at + 1] = block[:BLOCK], block[BLOCK:]
                newest.insert(at, block[BLOCK - 1].seq)
        elif newest and len(blocks[-1]) < BLOCK:
            blocks[-1].append(message)
            newest[-1] = seq
        else:
            blocks.append([message])
            newest.append(seq)

    def add_oldest(self, messages: list[Message]) -> None:
        """Put messages, in order, before all others."""
        blocks = [messages[start : start + BLOCK] for start in range(0, len(messages), BLOCK)]
        self._blocks[:0] = blocks
        self._newest[:0] = [block[-1].seq for block in blocks]

    def find(self, seq: int) -> Message | None:
        """Return a message if it is here."""
        at = bisect_left(self._newest, seq)
        if at < len(self._blocks):
            block = self._blocks[at]
            message = block[bisect_left(block, seq, key=sequence)]
            if message.seq == seq:
                return message
        return None

    def take(self, seq: int) -> bool:
        """Take a message out; False if it is not here."""
        at = bisect_left(self._newest, seq)
        if at == len(self._blocks):
            return False
        block = self._blocks[at]
        index = bisect_left(block, seq, key=sequence)
        if block[index].seq != seq:
            return False
        del block[index]
        self._tidy(at)
        return True

    def after(self, place: int, count: int, limit: int) -> list[Message]:
        """Return the first `count` messages after a place, as far as they are not after `limit`."""
        found: list[Message] = []
        at = bisect_right(self._newest, place)
        for block in islice(self._blocks, at, None):
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
            self._tidy(0)
        return found

    def _tidy(self, at: int) -> None:
        block = self._blocks[at]
        if block:
            self._newest[at] = block[-1].seq
        else:
            del self._blocks[at], self._newest[at]


def up_to(limit: int, messages: list[Message]) -> list[Message]:
    """Return those of some messages, in order, that are not after a limit."""
    if not messages or messages[-1].seq <= limit:
        return messages
    return messages[: bisect_right(messages, limit, key=sequence)]
