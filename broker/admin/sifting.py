"""Going through what waits in a queue, as far as it reaches into the store, a few messages at a time.

As a browser does: in order, from what waited at the beginning, with nothing kept in memory. What comes later, or is in
a consumer's hands, is not seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.admin.errand import turn, written
from broker.core.lane import Lane
from broker.core.message import Message
from broker.core.queue import Queue
from broker.core.reports import FAILED, REMOVED, wants_reports

FEW = 50  # messages read at once
FEW_BYTES = 256 * 1024  # of them
AHEAD = 8 * 1024 * 1024  # bytes of what is put elsewhere that may wait for the disk

#: A priority, and the sequence number up to which all of it was seen.
Place = tuple[int, int]
START: Place = (9, -1)


async def waiting_in(queue: Queue, place: Place = START) -> AsyncIterator[tuple[Lane, Message]]:
    """Go through the messages behind a place, each with its lane, out of which it may be taken.

    Others have their turns between two messages: each is there, as it was handed out, until the next is asked for.
    """
    broker = queue.broker
    newest = broker.next_seq - 1
    priority, seq = place
    while True:
        while broker.journal.waiting > AHEAD:
            await written()
        read = await turn()
        lane = next((each for each in queue.lanes if each.priority <= priority), None)
        if lane is None:
            return
        if lane.priority < priority:
            priority, seq = lane.priority, -1
        some, reach = lane.after(
            seq, FEW, queue.number, read, broker.suspect_before, broker.committed, FEW_BYTES
        )
        end = min(lane.last, newest)
        if not some and reach == seq < end:
            await written()  # the rest is on its way to the store
            continue
        for message in some:
            if message.seq > end:
                break
            yield lane, message
        seq = reach
        if reach >= end:
            priority, seq = priority - 1, -1


def take(queue: Queue, lane: Lane, message: Message) -> None:
    """Take a message out for good."""
    take_out(queue, lane, message)
    if wants_reports(message):
        queue.broker.reports.ended(queue, message, FAILED, REMOVED)
    queue.done(message)


def expire(queue: Queue, lane: Lane, message: Message) -> bool:
    """Give a message up if it has expired; tell whether it has."""
    broker = queue.broker
    if not 0 < message.expires <= broker.now:
        return False
    take_out(queue, lane, message)
    broker.expire(queue, message)
    return True


def take_out(queue: Queue, lane: Lane, message: Message) -> None:
    """Take a message out of its lane; its record is another matter."""
    queue.taken(lane, message)
    if lane.apart:
        queue.broker.choosing.add(queue)  # until it is no longer in the store
