"""Durable topic subscriptions: what comes while the subscriber is away waits for it.

Such a subscription is a queue whose messages lie in its topic's log (`broker.core.durable.log`), once for all
subscriptions. Its own state is how far it has come:

    in the log:   … done | high | fresh: in the head, or behind it …  last
                     ↑ `open`: at or below high, handed out and not done; bounded by what may be in flight

1. While there is no consumer nothing happens to it at all. Memory holds `open`, and numbers.
2. With a consumer it is *current* as long as its head holds, or it handed out, all there is: a message is then
   handed over as it comes. When the head is full it is not current, and reads the log on from there.
3. What the subscription does not want (selector, own messages) is passed over, when it comes or is read.
4. When the consumer has gone, what it had and what was in the head is in the log only, as before. What is
   `open` is read again, record by record, when the next one comes, and comes first.

How far it has come goes to the store as a mark (`broker.core.durable.progress`), once a batch however much has changed,
together with the deletions in the log that follow from it. What was handed out since is not in it: after a crash
it comes again.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from functools import partial

from broker.core.durable.log import LANE, Log, read_record
from broker.core.durable.progress import Progress, What, progress_key, what_key
from broker.core.lane import WINDOW, WINDOW_BYTES, Read
from broker.core.message import MOST_RETURNS, Message
from broker.core.names import TOPIC
from broker.core.queue import ONE_GO, Queue
from broker.core.schedule import Call
from broker.core.shelf import sequence
from broker.core.subscription import Subscription, Wants

MOST_OPEN = 50_000  # messages not done, beyond which no fresh ones are handed out: they are written each time
FEW, FEW_BYTES = 16, 64 * 1024  # read at once where most is not wanted
ONE_LOOK = 32  # messages that a selector is asked about before we look at the clock


class DurableQueue(Queue):
    """The messages of one durable subscription."""

    grouping = False

    def __init__(
        self, log: Log, number: int, what: What, progress: Progress, wants: Wants | None
    ) -> None:
        """`number` is its own for ever; `wants` is what the selector means."""
        self.log = log
        super().__init__(log.broker, log.number, what.topic, log.policy)
        self.what = what
        self.left = progress.left  # when the last consumer went, ms since 1970; 0: one is there
        # seq → times given back (255: or more), of what is not done up to high; ascending
        self.open = progress.open
        self.spared: set[object] = set()  # connections whose messages it is not to get
        self._number = number
        self._wants = wants
        self._noted = False  # the progress will be written
        self._removed = False
        self._current = False  # all there is was looked at
        self._plain = False  # what comes is handed over if nothing waits in the head
        # If it is not: up to where it was looked at, and how many messages of the log that are.
        self._edge, self._edge_passed = progress.high, progress.passed
        self._head: deque[Message] = deque()  # given back ones, then fresh ones; by seq
        self._head_bytes = 0
        self._ordinals: deque[int] = deque()  # of the fresh ones: their places in the log
        self._high, self._passed = self._edge, self._edge_passed  # while there are fresh ones
        self._to_read = [*progress.open]  # given back, and only in the log; ascending
        self._later: dict[int, Call] = {}  # by seq: what brings back what was postponed
        self._braked = False  # there would be more to hand out, were less of it open
        self._shortening = False  # the oldest are being given up
        self.before = self.waiting
        log.add(self)

    @property
    def destination(self) -> str:
        """What clients call its topic."""
        return TOPIC + self.name

    @property
    def waiting(self) -> int:
        """Messages that no consumer has.

        With a selector some of those that were not looked at yet may not be for it.
        """
        if self._removed:
            return 0
        behind = 0 if self._current else self.log.count - self._edge_passed
        return len(self._head) + len(self._to_read) + behind

    @waiting.setter
    def waiting(self, value: int) -> None:
        """It follows from the log, whatever the queue would have it begin with."""

    @property
    def enqueued(self) -> int:
        """Messages that came to its topic since the start, or since it was set."""
        return self.log.count - self._uncounted

    @enqueued.setter
    def enqueued(self, value: int) -> None:
        self._uncounted = self.log.count - value

    @property
    def low(self) -> int:
        """It needs nothing of the log up to here."""
        for seq in self.open:
            return seq - 1
        return self._place[0]

    @property
    def _place(self) -> tuple[int, int]:
        """High, and how many messages of the log that are."""
        if self._ordinals:
            return self._high, self._passed
        if self._current:
            return self.log.last, self.log.count
        return self._edge, self._edge_passed

    def spare(self, sender: object) -> None:
        """Do not take what its consumer's connection sends (no-local), as long as it has a consumer."""
        if self.what.client_id:  # a shared one has none, and consumers that come and go
            self.spared.add(sender)
            self.log.spare()

    # Messages come.

    def put(self, message: Message) -> None:
        """Take the newest message of the log; only while there is a consumer."""
        line = self._line
        if (
            message.special
            or not (self._plain and line)
            or self._head
            or len(self.open) >= MOST_OPEN
        ):
            self._keep(message)
            return
        subscription = line.popleft()
        if subscription.auto:
            line.append(subscription)
            if not self._noted:
                self._note()
            subscription.deliver(message)
            return
        self.open[message.seq] = 0
        subscription.in_flight[subscription.deliver(message)] = message
        subscription.credit -= 1
        if subscription.credit > 0:
            line.append(subscription)
        else:
            subscription.in_line = False

    def put_from_client(self, message: Message, client_id: str) -> None:
        """Take the newest message of the log from a client that some subscription may not want it from."""
        if self._is_own(client_id):
            self._pass_over()
        else:
            self.put(message)

    def _pass_over(self) -> None:
        """The newest message of the log is not for this subscription."""
        if self._current and not self._ordinals:
            self._note()

    def _keep(self, message: Message) -> None:
        if not self._current:
            return
        if self._wants is not None and not self._wants(message):
            self._pass_over()
            return
        if len(self._head) >= WINDOW or self._head_bytes >= WINDOW_BYTES:
            self._current = self._plain = False
            self._edge, self._edge_passed = message.seq - 1, self.log.count - 1
            return
        self._add(message, self.log.count)
        if self._line:
            self.dispatch()

    # Consumers come and go.

    def join(self, subscription: Subscription) -> None:
        """A consumer comes; it is served after `feed`."""
        if not self.subscriptions:
            self.left = 0
            self._current = self._edge == self.log.last
            self._think()
            self.log.wakes(self)
            self.log.spare()
            self._note()
        self.subscriptions[subscription] = None

    def leave(self, subscription: Subscription) -> None:
        """A consumer goes; with the last one everything is in the log only."""
        super().leave(subscription)
        if self.subscriptions or self._removed:
            return
        self.left = self.broker.now
        self._edge, self._edge_passed = self._place
        given_back = [m.seq for m in self._head][: len(self._head) - len(self._ordinals)]
        self._to_read = sorted([*self._to_read, *given_back])
        self._head.clear()
        self._ordinals.clear()
        self._head_bytes = 0
        self._current = self._plain = self._braked = False
        self.spared.clear()
        self.log.sleeps(self)
        self._note()

    def dispatch(self) -> None:
        """Hand out what waits, as long as somebody is in line; ask for another go if more remains."""
        line, head, now = self._line, self._head, self.broker.now
        served = 0
        while line:
            if self._to_read and (not head or head[0].seq > self._to_read[0]):
                self.ask()
                return
            if not head:
                break
            if served >= ONE_GO:
                self.ask()
                return
            if len(head) == len(self._ordinals):
                if len(self.open) >= MOST_OPEN:
                    self._braked = True
                    return
                message = head.popleft()
                self._advance(message.seq)
                self.open[message.seq] = 0
            else:
                message = head.popleft()
            self._head_bytes -= len(message.tail)
            if message.expires and message.expires <= now:
                self._expire(message)
                continue
            served += 1
            subscription = line.popleft()
            if subscription.auto:
                line.append(subscription)
                self.done(message)
                subscription.deliver(message)
                continue
            subscription.in_flight[subscription.deliver(message)] = message
            subscription.credit -= 1
            if subscription.credit > 0:
                line.append(subscription)
            else:
                subscription.in_line = False
        if self._runs_low:
            self.ask()

    # What becomes of what was handed out. Messages are shared with other subscriptions: copies are marked.

    def done(self, message: Message) -> None:
        """A consumer has acknowledged it."""
        self.open.pop(message.seq, None)
        if not self._noted:
            self._note()
        if self._braked:
            self._braked = False
            self.ask()

    def refuse(
        self,
        message: Message,
        requeue: bool,
        delay: int = 0,
        reason: str = "",
        by: Subscription | None = None,
    ) -> None:
        """A consumer failed on it; how often is nothing to other subscriptions."""
        if not self._removed:
            super().refuse(message.copy(), requeue, delay, reason, by)

    def postpone(self, message: Message, due: int) -> None:
        """Let a message come again later; after a restart it comes at once."""
        self.open[message.seq] = min(message.returns, MOST_RETURNS)
        self._note()
        come = partial(self._come_again, message.seq)
        self._later[message.seq] = self.broker.schedule.call_at(due, come)

    def give_back(self, messages: list[Message]) -> None:
        """A consumer had these and will not finish them: back to their places."""
        if self._removed or not messages:
            return
        for message in messages:
            self.open[message.seq] = min(message.returns, MOST_RETURNS)
        self._note()
        if not self.subscriptions:
            self._to_read = sorted([*self._to_read, *(message.seq for message in messages)])
            return
        self._put_back([message.copy() for message in messages])
        if self._line:
            self.broker.again[self] = None

    def expire(self) -> None:
        """Give up what has expired, or is more than the policy lets wait, from the oldest on."""
        if not self.subscriptions:
            if self.log.expiring or self._is_too_long():
                self.ask()
            return
        head = self._head
        while head and self._is_over(head[0]):
            message = head.popleft()
            self._head_bytes -= len(message.tail)
            if len(head) < len(self._ordinals):
                self._advance(message.seq)
            self._give_up(message)
        if self._runs_low:
            self.ask()

    def remove(self) -> None:
        """The subscription ends: all it holds is nothing to it any more."""
        self._removed = True
        for key in (what_key(self._number), progress_key(self._number)):
            self.broker.journal.mark(key, lambda: None)
        self.open.clear()
        self._to_read.clear()
        for call in self._later.values():
            self.broker.schedule.cancel(call)
        self._later.clear()
        self.log.remove(self)

    def is_forgotten(self, now: int) -> bool:
        """Tell whether nobody has used it for as long as the policy allows."""
        timeout = self.policy.offline_timeout
        if self.subscriptions or not timeout:
            return False
        if not self.left:  # it had a consumer when the broker was killed
            self.left = now
            self._note()
        return now - self.left >= timeout * 1000

    # The other go that was asked for.

    def go_on(self, read: Read) -> None:
        """Read what follows, then dispatch."""
        if self._removed:
            return
        if not self.subscriptions:
            self._shorten(read)
            return
        if self._to_read:
            self._read_again(read)
        elif self._runs_low:
            self._read_on(read)
        self._think()
        self.dispatch()

    @property
    def _runs_low(self) -> bool:
        """True when the log should be read on."""
        return (
            not self._current
            and len(self._head) < WINDOW // 2
            and self._head_bytes < WINDOW_BYTES // 2
        )

    def _read_on(self, read: Read) -> None:
        """Read the next fresh messages into the head, as many as others can wait for."""
        log = self.log
        while self._runs_low and self not in self.broker.starving:
            room = WINDOW - len(self._head)
            count = room if self._wants is None else min(room, ONE_LOOK)
            rows = read(log.number, LANE, self._edge, count, WINDOW_BYTES - self._head_bytes)
            if not rows:
                self._find_end()
            for seq, meta, tail in rows:
                message = self._look_at(seq, meta, tail)
                if message is None:
                    continue
                if not self._ordinals and self._is_over(message, 1):
                    self._give_up(message)
                else:
                    self._add(message, self._edge_passed)
            self._current = self._edge == log.last
            if not self._ordinals:
                self._note()
            if self._wants is None or self.broker.late:
                break

    def _read_again(self, read: Read) -> None:
        """Read what was handed out before into the head, where it comes first."""
        to_read = self._to_read
        found: list[Message] = []
        size = self._head_bytes
        while to_read and len(self._head) + len(found) < WINDOW and size < WINDOW_BYTES:
            rows = read(self.number, LANE, to_read[0] - 1, FEW, FEW_BYTES)
            if not rows and self.broker.committed < to_read[0]:
                self.broker.starving[self] = None  # it is still being written
                break
            by_seq = {seq: (meta, tail) for seq, meta, tail in rows}
            reach = rows[-1][0] if rows else to_read[-1]
            while to_read and to_read[0] <= reach:
                seq = to_read.pop(0)
                if seq in by_seq:
                    message, _ = read_record(seq, *by_seq[seq])
                    message.returns = self.open[seq]
                    size += len(message.tail)
                    found.append(message)
                else:
                    self.open.pop(seq, None)
        if found:
            self._put_back(found)

    def _shorten(self, read: Read) -> None:
        """Without a consumer: give up the oldest as long as they are over."""
        self._shortening = self._shorten_open(read) if self._to_read else self._shorten_fresh(read)
        if self._shortening:
            self.ask()

    def _shorten_open(self, read: Read) -> bool:
        """Give up the oldest of what was handed out before if it is over; tell whether it was."""
        rows = read(self.number, LANE, self._to_read[0] - 1, 1, FEW_BYTES)
        if not rows:
            return False  # it is still being written
        message, _ = read_record(*rows[0])
        if not self._is_over(message):
            return False
        del self._to_read[0]
        self._give_up(message)
        return True

    def _shorten_fresh(self, read: Read) -> bool:
        """Give up fresh ones as long as they are over; tell whether all that were read are."""
        most = 1 if not self._shortening else ONE_GO if self._wants is None else ONE_LOOK
        rows = read(self.number, LANE, self._edge, most, WINDOW_BYTES)
        for seq, meta, tail in rows:
            before = self._edge, self._edge_passed
            message = self._look_at(seq, meta, tail)
            if message is not None and not self._is_over(message, 1):
                self._edge, self._edge_passed = before
                return False
            self._note()
            if message is not None:
                self._give_up(message)
        return bool(rows)

    def _look_at(self, seq: int, meta: bytes, tail: bytes) -> Message | None:
        """Return the message of the record that is read next, or None if the subscription does not want it."""
        self._edge = seq
        self._edge_passed += 1
        message, sender = read_record(seq, meta, tail)
        if seq < self.broker.suspect_before:
            message.mark_redelivered()
        if self._is_own(sender) or (self._wants is not None and not self._wants(message)):
            return None
        return message

    def _find_end(self) -> None:
        """Nothing was read: what there is is still being written, or it was all."""
        if self.broker.committed < self.log.last:
            self.broker.starving[self] = None
        else:
            self._edge, self._edge_passed = self.log.last, self.log.count

    def _is_own(self, sender: str) -> bool:
        """Tell whether it is not to get a message because of who sent it, "" if that is not noted."""
        return self.what.no_local and bool(sender) and sender == self.what.client_id

    # The head.

    def _add(self, message: Message, ordinal: int) -> None:
        if not self._ordinals:
            self._high, self._passed = message.seq - 1, ordinal - 1
        self._head.append(message)
        self._head_bytes += len(message.tail)
        self._ordinals.append(ordinal)

    def _put_back(self, messages: list[Message]) -> None:
        head = self._head
        given_back = []
        while len(head) > len(self._ordinals):
            given_back.append(head.popleft())
        for message in messages:
            message.mark_redelivered()
            self._head_bytes += len(message.tail)
        head.extendleft(sorted(given_back + messages, key=sequence, reverse=True))

    def _think(self) -> None:
        self._plain = self._current and self._wants is None and not self._to_read

    def _advance(self, seq: int) -> None:
        """The first fresh message leaves the head."""
        self._high, self._passed = seq, self._ordinals.popleft()

    def _come_again(self, seq: int) -> None:
        """A message that was postponed is due."""
        self._later.pop(seq, None)
        if seq in self.open:
            insort(self._to_read, seq)
            self._plain = False
            if self.subscriptions:
                self.broker.again[self] = None

    # Giving up.

    def _is_too_long(self, others: int = 0) -> bool:
        return bool(self._most) and self.waiting + others > self._most

    def _is_over(self, message: Message, others: int = 0) -> bool:
        """Tell whether a message has expired, or more wait than the policy allows.

        `others`: that wait and are not counted, because they have just been looked at.
        """
        expired = bool(message.expires) and message.expires <= self.broker.now
        return expired or self._is_too_long(others)

    def _give_up(self, message: Message) -> None:
        if message.expires and message.expires <= self.broker.now:
            self._expire(message)
        else:
            self.dropped += 1
            self.done(message)
            self.broker.discarded(self, message)

    def _expire(self, message: Message) -> None:
        if self.log.is_first_to_bury(message.seq):
            self.broker.expire(self, message)
        else:
            self.expired += 1
            self.done(message)

    # Marks.

    def describe(self, what: What) -> None:
        """See to it that who it is is stored, and how far it has come."""
        self.what = what
        self.broker.journal.mark(what_key(self._number), what.encode)
        self._note()

    def _note(self) -> None:
        """See to it that the state is stored, once with the next batch."""
        if not (self._noted or self._removed):
            self._noted = True
            self.broker.journal.mark(progress_key(self._number), self._encode)
            self.log.note(self)

    def _encode(self) -> bytes:
        self._noted = False
        return Progress(*self._place, self.left, self.open).encode()
