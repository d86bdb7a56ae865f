"""The log of a topic: what is sent to it, stored once for all its durable subscriptions.

A log is one stored queue with one lane. It only grows at one end and is deleted at the other:

    seq:  … floor | low … … last          low: nobody needs what is at or below it
                    ↑ deleted next

Each subscription knows how far it has come (`broker.core.durable.queue`); the least of them is `low`, found once
a batch. The newest records are remembered while everybody keeps up, so that deleting them, mostly before they
were ever written, takes no reading; what lies further back is read again to be deleted, in goes.

A subscription that has a consumer (`awake`) is handed every message as it comes. The others cost a message
nothing, however many they are: what they have not seen is what the log counted since they went.

A pattern (`a.>`) has a log of its own, which all topics that it means lead into. What is not persistent is stored
too: who is away is to find it.

A record is that of a message (`broker.core.message`) with priority 4, so that one lane keeps the order of
arrival. What a message has beyond that stands before its tail, and a flag in the meta says so:

    meta: flags | 128      tail: u8 priority | u8 persistent | u16 length | u16 length | sender | destination | tail

Sender is a client-id, if some subscription is not to get what its own client sends; destination is the
topic, in the log of a pattern.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from broker.core.durable.progress import COUNT, log_key
from broker.core.each import for_each
from broker.core.lane import WINDOW, WINDOW_BYTES, Read
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.names import HIDDEN
from broker.core.pattern import is_pattern
from broker.core.queue import Queue
from broker.core.topic import Topic

if TYPE_CHECKING:
    from broker.core.durable import Durables
    from broker.core.durable.queue import DurableQueue
    from broker.core.policy import Policy

STORED_AS = HIDDEN + "log/"  # begins the names of the stored queues
LANE = DEFAULT_PRIORITY  # the one lane of each
ONE_GO = 1000  # records deleted before others get their turn
BURIED = 1000  # expired messages that are remembered to have a dead letter
NOTE = struct.Struct(">BBHH")
NOTED = 128  # flag: the tail begins with a note


class Record(Message):
    """How a message lies in the log that is not as most."""

    __slots__ = ()

    def meta(self) -> bytes:
        """Return the record's first piece."""
        meta = super().meta()
        return meta[:1] + bytes((meta[1] | NOTED,)) + meta[2:]


def make_record(message: Message, sender: str, destination: str) -> Message:
    """Return what is stored of a message."""
    if message.durable and message.priority == LANE and not sender and not destination:
        return message
    names = sender.encode(), destination.encode()
    note = NOTE.pack(message.priority, message.durable, *map(len, names))
    tail = b"".join((note, *names, message.tail))
    record = Record(message.seq, tail, True, message.plain, LANE, message.expires)
    record.redelivered, record.extra = message.redelivered, message.extra
    return record


def read_record(seq: int, meta: bytes, tail: bytes) -> tuple[Message, str]:
    """Return the message of a record, and the client that sent it if it is noted. Raises `UnknownFormat`."""
    if not meta[1] & NOTED:
        return Message.from_record(seq, LANE, meta, tail), ""
    priority, persistent, *lengths = NOTE.unpack_from(tail)
    names, start = [], NOTE.size
    for length in lengths:
        names.append(tail[start : start + length].decode())
        start += length
    sender, destination = names
    message = Message.from_record(seq, priority, meta, tail[start:])
    message.durable = bool(persistent)
    if destination:
        message.mark().destination = destination
    return message, sender


class Log:
    """What is sent to a topic, or to all topics that a pattern means; it `keeps` for them."""

    roams = False  # a topic with this keeper is needed

    def __init__(self, durables: Durables, name: str, records: int = 0, deleted: int = 0) -> None:
        """`name`: a topic or a pattern. `records` are there; `deleted` were before them."""
        broker = self.broker = durables.broker
        self.name = name
        self.number = broker.routes.hidden(STORED_AS + name)
        self.policy = broker.routes.policies.for_topic(name)
        self.last = broker.next_seq - 1  # no record is newer
        self.count = deleted + records  # messages that ever came: the ordinal number of the last
        self.deleted = deleted
        self.dropped = 0  # messages that were not persistent and found the store full
        self.expiring = records > 0  # some message may have an expiry
        self.awake: dict[DurableQueue, None] = {}  # with a consumer
        self._asleep: dict[DurableQueue, None] = {}
        self._asleep_low: int | None = None  # the least of theirs, if it is known
        self._durables = durables
        self._low = -1  # nobody needs what is at or below it
        self._floor = -1 if records else self.last  # nothing is stored at or below it
        self._recent: deque[Message] = deque()  # all records newer than `since`
        self._recent_bytes = 0
        self._since = self.last
        self._spared: dict[object, str] = {}  # sender → client-id of a subscription without its own
        self._buried: dict[int, None] = {}  # expired messages with a dead letter, oldest first
        self._ended = False
        broker.journal.keep(self.number)

    def follow(self, policy: Policy) -> None:
        """Another policy holds from now on, for all subscriptions."""
        self.policy = policy
        for queue in (*self.awake, *self._asleep):
            queue.follow(policy)

    @property
    def used(self) -> bool:
        """True while there is any subscription."""
        return bool(self.awake or self._asleep)

    # What topics send.

    def open(self) -> None:
        """Take what is sent from now on."""
        routes = self.broker.routes
        if is_pattern(self.name):
            routes.roam_topics(self, self.name, lambda topic: topic.keep(Inlet(self, topic)))
        else:
            routes.topic(self.name).keep(self)

    def close(self) -> None:
        """Take nothing more; what is there is deleted."""
        routes = self.broker.routes
        if not is_pattern(self.name):
            routes.topic(self.name).release(self)
            return
        routes.settle_down(self)
        for topic in routes.topics.values():
            for keeper in list(topic.keepers):
                if isinstance(keeper, Inlet) and keeper.log is self:
                    topic.release(keeper)

    def put(self, message: Message) -> None:
        """Take a message of the topic."""
        self.append(message)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        client_id = self.spared_client(sender)
        return partial(self.append, sender=client_id) if client_id else self.put

    def spared_client(self, sender: object) -> str:
        """Return the client-id of a sender, if some subscription is not to get its messages, or ""."""
        return self._spared.get(sender, "")

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        if not self.policy.max_messages or self.policy.at_limit == "drop-oldest":
            return ()
        return [*self.awake, *self._asleep]

    def append(self, message: Message, sender: str = "", destination: str = "") -> None:
        """Store a message and hand it to whoever has a consumer."""
        broker = self.broker
        if not message.durable and broker.journal.room < len(message.tail):
            self.dropped += 1
            return
        twin = broker.twin(message, message.durable)
        extra = twin.extra
        if extra is not None:
            extra.retained = False  # for those who are subscribed it is as any other
            if destination:
                extra.destination = destination
        elif destination:
            twin.mark().destination = destination
        record = make_record(twin, sender, destination)
        broker.journal.put(self.number, record)
        seq = self.last = twin.seq
        self.count += 1
        if twin.expires:
            self.expiring = True
        if self._asleep:
            self._since = seq
        else:
            self._remember(record)
        queues = iter(self.awake)
        if sender:
            for_each(queues, lambda queue: queue.put_from_client(twin, sender))
            return
        try:
            for queue in queues:
                queue.put(twin)
        except Exception:
            for_each(queues, lambda queue: queue.put(twin))  # the others are not to miss it
            raise

    # Who holds it.

    def add(self, queue: DurableQueue) -> None:
        """One more subscription, without a consumer as yet."""
        self._asleep[queue] = None
        self._asleep_low = None
        self._forget()

    def remove(self, queue: DurableQueue) -> None:
        """A subscription ends."""
        self.awake.pop(queue, None)
        self._asleep.pop(queue, None)
        self.note(queue)
        self.spare()

    def wakes(self, queue: DurableQueue) -> None:
        """A subscription has a consumer."""
        self._asleep.pop(queue)
        self.awake[queue] = None
        self._asleep_low = None

    def sleeps(self, queue: DurableQueue) -> None:
        """A subscription has no consumer any more."""
        self.awake.pop(queue)
        self.add(queue)
        self.spare()

    def note(self, queue: DurableQueue) -> None:
        """A subscription may have come further."""
        if queue not in self.awake:
            self._asleep_low = None
        self._durables.changed[self] = None

    def spare(self) -> None:
        """Look anew whose messages some subscription is not to get."""
        spared = {sender: each.what.client_id for each in self.awake for sender in each.spared}
        if spared != self._spared:
            self._spared = spared
            self.broker.routes.changed()

    def is_first_to_bury(self, seq: int) -> bool:
        """Tell whether an expired message has no dead letter yet. One is enough for all subscriptions."""
        buried = self._buried
        if seq in buried:
            return False
        buried[seq] = None
        if len(buried) > BURIED:
            del buried[next(iter(buried))]
        return True

    # What nobody needs any more.

    def settle(self) -> None:
        """Find out what nobody needs any more, and see to it that it is deleted."""
        if self._ended:
            return
        low = self._find_low()
        if low > self._low:
            self._low = low
            self._delete_recent()
        if self._floor < min(self._low, self._since) or not self.used:
            self._ask()

    def go_on(self, read: Read) -> None:
        """Delete some of what was not remembered."""
        if self._ended:
            return
        target = min(self._low, self._since)
        if self._floor < target:
            self._delete_stored(read, target)
            self._delete_recent()
            if self._floor < target:
                self._ask()
        if not self.used and self._floor >= self._since and not self._recent:
            self._end()

    def _find_low(self) -> int:
        lows = [queue.low for queue in self.awake]
        if self._asleep:
            if self._asleep_low is None:
                self._asleep_low = min([queue.low for queue in self._asleep])
            lows.append(self._asleep_low)
        return min(lows, default=self.last)

    def _remember(self, record: Message) -> None:
        self._recent.append(record)
        self._recent_bytes += len(record.tail)
        if len(self._recent) > WINDOW or self._recent_bytes > WINDOW_BYTES:
            self._forget()

    def _forget(self) -> None:
        """Remember none of the newest records."""
        self._recent.clear()
        self._recent_bytes = 0
        self._since = self.last

    def _delete_recent(self) -> None:
        recent, low = self._recent, self._low
        if self._floor < self._since or not recent or recent[0].seq > low:
            return
        journal = self.broker.journal
        while recent and recent[0].seq <= low:
            record = recent.popleft()
            self._recent_bytes -= len(record.tail)
            journal.delete(self.number, record)
            self._floor = record.seq
            self.deleted += 1
        self._mark()

    def _delete_stored(self, read: Read, target: int) -> None:
        broker = self.broker
        rows = read(self.number, LANE, self._floor, ONE_GO, WINDOW_BYTES)
        if not rows and broker.committed < target:
            broker.starving[self] = None  # they are being written
            return
        unwanted = [row for row in rows if row[0] <= target]
        for seq, _, tail in unwanted:
            broker.journal.delete(self.number, Message(seq, tail, True))
        self.deleted += len(unwanted)
        self._floor = unwanted[-1][0] if unwanted and len(unwanted) == len(rows) else target
        if unwanted:
            self._mark()

    def _mark(self) -> None:
        self.broker.journal.mark(log_key(self.number), lambda: COUNT.pack(self.deleted))

    def _ask(self) -> None:
        if self not in self.broker.starving:
            self.broker.again[self] = None

    def _end(self) -> None:
        """Nobody is subscribed and nothing is left."""
        self._ended = True
        self.broker.journal.mark(log_key(self.number), lambda: None)
        self.broker.routes.forget_hidden(STORED_AS + self.name)
        self._durables.forget(self)


class Inlet:
    """Leads one of a pattern's topics into its log."""

    roams = True  # nobody misses the topic: it leads there again when it is made anew

    def __init__(self, log: Log, topic: Topic) -> None:
        self.log = log
        self.put = partial(log.append, destination=topic.destination)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        client_id = self.log.spared_client(sender)
        return partial(self.put, sender=client_id) if client_id else self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return self.log.limits()
