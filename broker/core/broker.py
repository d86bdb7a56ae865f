"""The core's front door: what the house owns together, and what happens now and then.

No I/O and no clock: `now` is set by the floor above once a turn, `journal` is taken away by it, and
`again` lists whoever wants another go (messages to read back, more to hand out, answers to write).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker.core.dedup import STORED_AS as DEDUP
from broker.core.dedup import Dedup
from broker.core.durable import Durables
from broker.core.each import for_each
from broker.core.event import Event
from broker.core.expiry import Expiry
from broker.core.handout import Handout
from broker.core.journal import Batch, Journal, Memory
from broker.core.lane import Read
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.names import HIDDEN
from broker.core.policy import DEFAULT, Policies, Policy
from broker.core.queue import TOO_LATE, Queue
from broker.core.reports import EXPIRED, Reports, wants_reports
from broker.core.routes import Routes
from broker.core.schedule import STORED_AS as SCHEDULE
from broker.core.schedule import Schedule
from broker.core.shortage import Shortage
from broker.core.subscription import Wants
from broker.core.temporary import TempQueue
from broker.core.topic import Topic
from broker.core.tracking import ENDED_AS, Tracking
from broker.errors import Full

ENOUGH = 64 * 1024 * 1024  # bytes of room on the disk that end a shortage
ONE_GO = 0.003  # seconds for all who want another go, before sockets are heard again

#: The mark of the last crash: messages before that number may have been delivered already.
SUSPECT = b"suspect"


class Goes(Protocol):
    """Whoever wants another go at the end of the turn."""

    def go_on(self, read: Read) -> None:
        """Go on; `read` asks the store."""


class KeptQueue(Protocol):
    """What a store holds of one queue."""

    @property
    def number(self) -> int:
        """Names it in the store."""

    @property
    def name(self) -> str:
        """What clients call it, or a name of ours."""

    @property
    def lanes(self) -> Mapping[int, int]:
        """How many records there are of each priority."""


class Kept(Protocol):
    """What a store holds at the start."""

    @property
    def next_seq(self) -> int:
        """Higher than every number in order of arrival that was used."""

    @property
    def clean(self) -> bool:
        """True when the last run ended in order."""

    @property
    def queues(self) -> Sequence[KeptQueue]:
        """Every queue with records, or kept without."""

    @property
    def marks(self) -> Mapping[bytes, bytes]:
        """Small named values."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the core needs of the floors above, as functions, because it knows neither STOMP nor clocks."""

    #: Gives headers of a message's tail other values, adds those it has not, takes out those that are None.
    annotate: Callable[[bytes, Mapping[str, str | None]], bytes]
    #: Makes of a selector's text, and of the destination where it is asked, what tells which messages
    #: match. Raises `Refusal`.
    make_filter: Callable[[str, str], Wants]
    #: Returns the next moment (ms since 1970) that a cron text means after another.
    next_cron: Callable[[str, int], int]
    #: Gives a tail the message-id that belongs to a sequence number.
    rename: Callable[[bytes, int], bytes]
    #: Arranges that `Schedule.tick` is called at a moment (ms since 1970).
    wake_at: Callable[[int], None]
    #: Is told what happens now and then.
    tell: Callable[[Event], None] = field(default=lambda event: None)
    #: Tells the operator something that should not be, or is over.
    say: Callable[[str], None] = field(default=lambda text: None)
    #: Returns seconds since some moment, as they pass: to see how long something takes, never what time it is.
    elapsed: Callable[[], float] = field(default=lambda: 0.0)


class Broker:
    """Queues and topics, and what they share."""

    def __init__(
        self,
        outside: Outside,
        *,
        policies: Policies | None = None,
        memory_limit: int = 512 * 1024 * 1024,
        max_redeliveries: int = 6,
        track_for: int = 7 * 24 * 3600 * 1000,
        track_most: int = 1_000_000,
        max_destinations: int = 50_000,
        enough: int = ENOUGH,
    ) -> None:
        """The status of a message whose sender wants to know is kept for `track_for` milliseconds after its end.

        Of so many at most: `track_most`. A full store is one no more when `enough` bytes are free.
        """
        self.journal = Journal()
        self.outside = outside
        self.annotate = outside.annotate
        self.tell = outside.tell
        self.reports = Reports()
        self.track_for = track_for
        self.track_most = track_most
        self.now = 0  # milliseconds since 1970, as of this turn
        self.next_seq = 1
        self.committed = 0  # no record up to here is still on its way to the store
        self.suspect_before = 0  # older ones may have been delivered before a crash
        self.memory = Memory(memory_limit, memory_limit // 2)  # for what waits in memory only
        self._limit_is_reached = Shortage(
            "memory_limit is reached: messages that are not stored are refused until some are consumed",
            "there is memory again for messages that are not stored",
            memory_limit // 10,
            outside.say,
        )
        self.memory_is_short = False  # the machine's, or what this process may have of it
        self._store_is_full = Shortage(
            "the store is full (map_size, or disk_reserve): messages are refused until some are consumed",
            "there is room in the store again",
            enough,
            outside.say,
        )
        self.max_redeliveries = max_redeliveries  # of a message, unless a policy says otherwise
        self.client_ids: set[str] = set()  # of those who are connected: no two have the same
        self.again: dict[Goes, None] = {}  # in order: who wants another go
        self.starving: dict[Goes, None] = {}  # the same, once what is being written is on disk
        self.handout: Handout | None = None  # takes what a COMMIT puts into crowded topics
        self.choosing: set[Queue] = set()  # some consumer takes from beyond their windows
        self.routes = Routes(self, policies or Policies(), max_destinations)
        self.schedule = Schedule(self, outside.next_cron, outside.wake_at, outside.rename)
        self.dedup = Dedup(self)
        self.tracking = Tracking(self)
        self.durables = Durables(self)
        self.expiry = Expiry(self)
        self.marks: Mapping[bytes, bytes] = {}  # what the store held of them at the start
        self.blocked: dict[Queue, dict[Callable[[], None], None]] = {}  # full → who waits for room
        self._go_ends = 0.0  # when whoever is having another go should come to an end
        self._idle: set[Queue | Topic] = set()
        self._on_the_way = 0  # highest seq of the batch that is being written
        self._deleted: set[int] = set()  # by that batch, if anybody wants to know

    def load(self, kept: Kept, read: Read) -> None:
        """Go on where the store ended; after a crash any message may have been delivered before."""
        self.next_seq = kept.next_seq
        self.marks = kept.marks
        self.committed = kept.next_seq - 1
        if kept.clean:  # what a crash left in doubt remains so until it is consumed
            self.suspect_before = int.from_bytes(kept.marks.get(SUSPECT, b""), "big")
        else:
            self.suspect_before = kept.next_seq
            self.journal.mark(SUSPECT, lambda: kept.next_seq.to_bytes(8, "big"))
        hidden: dict[str, Mapping[int, int]] = {}
        for each in kept.queues:
            if each.name.startswith(HIDDEN):
                self.routes.load_hidden(each.number, each.name)
                hidden[each.name] = each.lanes
            else:
                queue = self.routes.load(each.number, each.name)
                for priority, count in each.lanes.items():
                    queue.load(priority, count)
        self.routes.unclaimed = hidden
        for name, lanes in hidden.items():
            if name == SCHEDULE:
                self.schedule.load(self.routes.hidden(name), sum(lanes.values()), read)
            elif name.startswith(DEDUP):
                self.dedup.load(name, self.routes.hidden(name), read)
        self.tracking.load(sum(hidden.get(ENDED_AS, {}).values()), read)
        self.durables.load(kept.marks, hidden)

    def take(self) -> Batch:
        """Return what must go to disk now."""
        self.durables.before_write()
        batch = self.journal.take(self.next_seq)
        self._on_the_way = self.next_seq - 1
        if self.choosing:
            self._deleted = {seq for _, _, seq, _ in batch.deletes}
            written = {seq for _, _, seq, _, _ in batch.puts}
            for queue in self.choosing:
                for lane in queue.lanes:
                    lane.note_written(written)
        return batch

    def written(self) -> None:
        """The batch that was taken is on disk: who waited for it may read."""
        self._is_written(self._on_the_way)
        if self._deleted:
            for queue in self.choosing:
                for lane in queue.lanes:
                    lane.note_deleted(self._deleted)
            self._deleted = set()
        self.choosing = {queue for queue in self.choosing if queue.looks_ahead}

    def nothing_to_write(self) -> None:
        """All there was has been written, or need not be."""
        self._is_written(self.next_seq - 1)

    def hold_back(self, is_short: bool) -> None:
        """Take only as much as is consumed meanwhile, because the machine is short of memory, or go on as ever."""
        self.memory_is_short = is_short
        self.routes.roam_on()
        for room in (self.memory, self.journal):
            room.withhold(room.withheld + max(0, room.room) if is_short else 0)

    def _is_written(self, seq: int) -> None:
        self.committed = seq
        if self._store_is_full.there:
            self._store_is_full.look(self.journal.room)
        self.again |= self.starving
        self.starving.clear()

    def admit(self, durable: bool, size: int) -> None:
        """Raise `Full` if the disk, or memory, has no room for a message of `size` bytes."""
        if (self.journal if durable else self.memory).room >= size:
            return
        (self._store_is_full if durable else self._limit_is_reached).begin()
        if self.memory_is_short:
            raise Full(
                "The broker's memory is full",
                "It takes no more messages until some are consumed; acknowledgements are taken.",
            )
        if durable:
            raise Full(
                "The store is full",
                "Nothing more is stored until messages are consumed; acknowledgements are taken.",
            )
        raise Full(
            "The memory for messages that are not stored is full",
            "It holds what was sent with persistent:false or waits for COMMIT: consume, or commit.",
        )

    def twin(self, message: Message, durable: bool) -> Message:
        """Return a message with the same tail and a place of its own."""
        twin = message.copy()
        twin.seq = self.next_seq
        self.next_seq += 1
        twin.durable = durable
        return twin

    def fit(self, message: Message, policy: Policy) -> None:
        """Change a copy as the policy of the queue that it goes to demands."""
        if policy is DEFAULT:
            return
        if not policy.priorities:
            message.priority = DEFAULT_PRIORITY
        expires = policy.expiry(message.expires, self.now)
        if expires != message.expires:
            message.expires = expires
            message.tail = self.annotate(message.tail, {"expires": str(expires)})

    def bury(self, queue: Queue, message: Message, cause: str) -> None:
        """Move a copy of a message to the dead letters; the caller ends the original.

        As ActiveMQ: with its message-id, where it came from and why; only durable ones unless the policy
        says otherwise, and a dead letter that fails once more is gone. It does not expire, unless the policy
        gives it a new lifetime, and it begins anew to count who failed on it.
        """
        policy = queue.policy
        name = policy.dead_letters_of(queue.name)
        if not name or self.routes.policies.are_dead_letters(queue.name):
            return
        if not message.durable and not policy.dead_letter_non_persistent:
            return
        letters = self.routes.queue(name)
        if letters is queue:
            return
        letter = self.twin(message, durable=True)
        origin, extra = queue.destination_of(message), letter.extra
        if extra is not None:
            origin = extra.destination or origin
            extra.destination = ""
            extra.retained = False
            extra.report = None
        letter.expires = self.now + policy.dead_letter_ttl if policy.dead_letter_ttl else 0
        letter.tail = self.annotate(
            message.tail,
            {
                "original-destination": origin,
                "dlqDeliveryFailureCause": cause,
                "expires": str(letter.expires) if letter.expires else None,
                "originalExpiration": str(message.expires) if message.expires else None,
                "originalDeliveryMode": None if message.durable else "NON_PERSISTENT",
            },
        )
        letter.returns = 0
        letter.redelivered = False
        if not letters.policy.priorities:
            letter.priority = DEFAULT_PRIORITY
        letters.put(letter)
        self.tell(Event("MessageDLQd", queue, message))

    def expire(self, queue: Queue, message: Message) -> None:
        """A message has come too late for its consumers, and nobody has it."""
        queue.expired += 1
        if wants_reports(message):
            self.reports.ended(queue, message, EXPIRED)
        if queue.policy.expired == "dead-letter":
            self.bury(queue, message, TOO_LATE)
        queue.done(message)
        self.tell(Event("Expired", queue, message))

    def discarded(self, queue: Queue, message: Message) -> None:
        """A message was given up because of a limit."""
        self.tell(Event("MessageDiscarded", queue, message))

    def go_on(self, read: Read) -> None:
        """Give those who asked for it another go."""
        again, self.again = self.again, {}
        self._go_ends = self.outside.elapsed() + ONE_GO
        try:
            for_each(self._in_time(again), lambda each: each.go_on(read))
        finally:
            self.again = again | self.again  # whose turn has not come is first next time
        if self.blocked:
            self.relieve()

    @property
    def late(self) -> bool:
        """True when others have waited long enough for those who have another go."""
        return self.outside.elapsed() >= self._go_ends

    def _in_time(self, again: dict[Goes, None]) -> Iterator[Goes]:
        """Take out one after the other, at least one, until it is late."""
        while again:
            each = next(iter(again))
            del again[each]
            yield each
            if self.late:
                return

    def wait_for_room(self, queue: Queue, go_on: Callable[[], None]) -> None:
        """Call `go_on` once a queue that is full takes messages again."""
        self.blocked.setdefault(queue, {})[go_on] = None

    def wait_no_longer(self, go_on: Callable[[], None]) -> None:
        """Whoever waits for room has gone."""
        for waiting in self.blocked.values():
            waiting.pop(go_on, None)

    def follow(self, policies: Policies) -> None:
        """Other policies hold from now on, also for destinations that are there.

        What a subscription was given with its SUBSCRIBE remains: its prefetch, how much may wait for it.
        """
        self.routes.follow(policies)
        self.durables.follow(policies)
        blocked, self.blocked = self.blocked, {}
        for waiting in blocked.values():  # whoever finds it full still will wait again
            for_each(waiting, lambda go_on: go_on())

    def relieve(self) -> None:
        """Let those go on whose queue has room."""
        for queue in [queue for queue in self.blocked if not queue.full]:
            for_each(self.blocked.pop(queue), lambda go_on: go_on())

    def sweep(self) -> None:
        """Drop what has expired, forget destinations that are no longer used."""
        self._store_is_full.look(self.journal.room)
        self._limit_is_reached.look(self.memory.room)
        routes = self.routes
        temporary = [each for each in routes.temporaries() if isinstance(each, TempQueue)]
        self.expiry.sweep([*routes.queues.values(), *routes.apart.values(), *temporary])
        self.schedule.sweep()
        self.dedup.sweep()
        self.tracking.sweep()
        self.durables.sweep(self.now)
        self._idle = routes.remove_idle(self._idle)
