"""A queue: every message to one consumer, in order of priority, first in first out within one.

A queue is at most ten lanes, one a priority; a backlog costs disk, not memory (see `broker.core.lane`):

1. A message that finds a consumer in line and nobody waiting before it is handed over at once.
2. Else it joins its lane: in memory while the window has room and nothing is behind, else only on disk.
3. When the window is half empty the queue asks (`Broker.again`) to be refilled at the end of the turn.
4. What is given back returns to its place by its sequence number, always into memory: it was there before.

While some consumer or message chooses (selectors, groups, priority among consumers) nobody stands in line:
`broker.core.picking` serves the consumers then, each at its own place in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker.core.advised import advise
from broker.core.lane import Lane, Read
from broker.core.message import Message
from broker.core.picking import Picker
from broker.core.reports import DISCARDED, FAILED, PROCESSED, wants_reports
from broker.core.shelf import sequence
from broker.core.subscription import Subscription

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.policy import Policy

ONE_GO = 1000  # messages handed over before others get their turn
#: Why a message is a dead letter.
REFUSED, TOO_LATE = "refused by a consumer (NACK)", "expired"
TOO_OFTEN = "delivered {} times and never acknowledged"


class Blocked(Exception):
    """No fault: whoever wants to put a message must wait until the queue takes some again."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(f"{queue.name} takes no more for now")
        self.queue = queue


class Queue:
    """Messages for competing consumers."""

    durable = True
    copies = 1  # records that a message becomes
    grouping = True  # a message of a group goes to the consumer that has the group

    def __init__(self, broker: Broker, number: int, name: str, policy: Policy) -> None:
        self.number = number  # names it in the store
        self.name = name
        self.policy = policy
        self.waiting = 0  # messages that no consumer has, in memory and behind
        self.before = 0  # messages that were there when these numbers began
        self.enqueued = 0  # messages that came since then
        self.expired = 0  # messages that came too late for a consumer
        self.dropped = 0  # messages that were given up because of a limit
        self.charged = 0  # bytes of waiting messages that are in memory only
        self.subscriptions: dict[Subscription, None] = {}  # in the order they came
        self.owed: set[Subscription] = set()  # gone, but an open transaction still holds messages
        self.keep_idle = False  # it stays, whatever its policy says
        self.lanes: list[Lane] = []  # highest priority first
        self.broker = broker
        self._journal = broker.journal
        self._line: deque[Subscription] = deque()  # those who can be served, next first
        self._lane_of: dict[int, Lane] = {}
        self._picker: Picker | None = None  # serves the consumers while somebody chooses
        self.follow(policy)
        if policy.advise_consumed or policy.advise_delivered:
            advise(self)

    def follow(self, policy: Policy) -> None:
        """Another policy holds from now on. Whether each message is told of (`advise_…`) stays as it was."""
        self.policy = policy
        # Beyond so many the oldest are given up.
        self._most = policy.max_messages if policy.at_limit == "drop-oldest" else 0
        self._most_charged = policy.memory_limit if policy.at_limit == "drop-oldest" else 0

    @property
    def destination(self) -> str:
        """What clients call it."""
        return f"/queue/{self.name}"

    @property
    def attended(self) -> bool:
        """True when somebody consumes from it, or is about to."""
        if any(not consumer.closed for consumer in self.subscriptions):
            return True
        return self.broker.routes.is_sought(self)

    @property
    def idle(self) -> bool:
        """True when nobody would miss it: no messages, no consumers but those who take any queue."""
        return not (
            self.waiting
            or self.owed
            or self.keep_idle
            or self.policy.keep_idle
            or any(not each.roams for each in self.subscriptions)
        )

    @property
    def looks_ahead(self) -> bool:
        """True when some consumer takes, or has taken, from beyond a window."""
        return self._picker is not None or any(lane.apart or lane.fresh for lane in self.lanes)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        policy = self.policy
        limited = policy.at_limit != "drop-oldest" and (policy.max_messages or policy.memory_limit)
        return (self,) if limited else ()

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for the policy."""
        return not (self.policy.ttl_default or self.limits())

    def load(self, priority: int, count: int) -> None:
        """Take over a lane that the store holds."""
        self._add_lane(Lane(priority, count, self.broker.next_seq - 1))
        self.waiting += count
        self.before += count

    def put(self, message: Message) -> None:
        """Take a message: to the next consumer in line if nobody waits before it, else to its lane."""
        self.enqueued += 1
        line = self._line
        if not line or self.waiting or message.special:
            self._keep(message)
            return
        subscription = line.popleft()
        if subscription.auto:  # done as soon as it is sent: nothing to keep
            line.append(subscription)
            subscription.deliver(message)
            return
        if message.durable:
            self._journal.put(self.number, message)
        subscription.in_flight[subscription.deliver(message)] = message
        subscription.credit -= 1
        if subscription.credit > 0:
            line.append(subscription)
        else:
            subscription.in_line = False

    def put_when_stored(self, message: Message) -> None:
        """Take a stored message that nobody is to see before it is on disk with all that was done before it.

        It goes behind the window, from where it is read back. Nobody waits for it any more, so that no limit refuses it.
        """
        self.enqueued += 1
        self._journal.put(self.number, message)
        self.waiting += 1
        self._lane(message.priority).put_behind(message)
        if self._line or self._picker is not None:
            self.broker.starving[self] = None
        if self._picker is not None:
            self._picker.renew()
        if self._most:  # not at once: what is given up may have a report that comes here
            self.ask()

    def destination_of(self, message: Message) -> str:
        """Return where one of its messages was sent."""
        return self.destination

    def home_of(self, message: Message) -> Queue:
        """Return the queue of a message that a consumer has: this one."""
        return self

    def done(self, message: Message) -> None:
        """A consumer has acknowledged it."""
        if message.durable:
            self._journal.delete(self.number, message)

    def refuse(
        self,
        message: Message,
        requeue: bool,
        delay: int = 0,
        reason: str = "",
        by: Subscription | None = None,
    ) -> None:
        """A consumer failed on it: it comes again, after `delay` ms, or is a dead letter, for a `reason`."""
        broker, policy = self.broker, self.policy
        most = policy.max_redeliveries
        if most < 0:
            most = broker.max_redeliveries
        if requeue and (most < 0 or message.returns < most):
            message.returns += 1
            delay = delay or int(policy.delay(message.returns) * 1000)
            if delay:
                message.mark_redelivered()
                self.postpone(message, broker.now + delay)
            else:
                self.give_back([message])
        else:
            cause = TOO_OFTEN.format(message.returns + 1) if requeue else reason or REFUSED
            if wants_reports(message):
                broker.reports.ended(self, message, FAILED, cause, by)
            broker.bury(self, message, cause)
            self.done(message)

    def postpone(self, message: Message, due: int) -> None:
        """Let a message that is in flight come again later."""
        later = message.copy()
        self.done(message)
        self.broker.schedule.postpone(self.destination, later, due)

    def give_back(self, messages: list[Message]) -> None:
        """A consumer had these and will not finish them: back to their places, at once.

        They are handed out again at the end of the turn: the consumers of a lost connection give back one
        after the other, and nobody is to get the second before the first is there.
        """
        if not messages:
            return
        for message in messages:
            message.mark_redelivered()
            if message.durable:
                self._journal.update(self.number, message)
            else:
                self.charge(len(message.tail))
        self.waiting += len(messages)
        self.put_back(messages)
        if self._picker is not None:
            self._picker.give_back(messages)
        if self._line or self._picker is not None:
            self.broker.again[self] = None

    def put_back(self, messages: list[Message]) -> None:
        """Return messages to their places."""
        by_priority: dict[int, list[Message]] = {}
        for message in messages:
            by_priority.setdefault(message.priority, []).append(message)
        for priority, some in by_priority.items():
            self._lane(priority).put_back(sorted(some, key=sequence))

    def join(self, subscription: Subscription) -> None:
        """A consumer comes; it is served after `feed`."""
        self.subscriptions[subscription] = None
        if self.policy.exclusive and self.grouping:  # else it is alone anyway
            subscription.exclusive = True
        if self._picker is not None:
            self._picker.join(subscription)
        elif subscription.chooses:
            self._choose()

    def leave(self, subscription: Subscription) -> None:
        """A consumer goes."""
        self.subscriptions.pop(subscription, None)
        if self._picker is None:
            self.rest(subscription)
        else:
            self._picker.leave(subscription)
            if not self._picker.needed:
                self._line_up()
            self.broker.again[self] = None

    def feed(self, subscription: Subscription) -> None:
        """Put a consumer in line if it can be served, and serve."""
        if self._picker is not None:
            self._picker.feed(subscription)
            return
        if subscription.in_line or not subscription.hungry:
            return
        subscription.in_line = True
        self._line.append(subscription)
        if self.waiting:
            self.dispatch()

    def rest(self, subscription: Subscription) -> None:
        """Take a consumer out of the line."""
        if subscription.in_line:
            subscription.in_line = False
            self._line.remove(subscription)

    def dispatch(self) -> None:
        """Hand out what waits, as long as somebody is in line; ask for another go if more remains."""
        line = self._line
        now = self.broker.now
        served = 0
        while line and self.waiting:
            lane = self._first_lane()
            if lane is None or served >= ONE_GO:
                self.ask()
                return
            head = lane.head
            while head and line and served < ONE_GO:
                message = head.popleft()
                size = len(message.tail)
                lane.bytes -= size
                self.waiting -= 1
                durable = message.durable
                if not durable:
                    self.charge(-size)
                if message.expires and message.expires <= now:
                    self.broker.expire(self, message)
                    continue
                extra = message.extra
                if extra is not None and extra.group and self.grouping:
                    self._unhand(lane, message)
                    return
                served += 1
                subscription = line.popleft()
                if extra is not None and extra.report is not None:
                    self.report_sent(message, subscription)
                if subscription.auto:
                    line.append(subscription)
                    if durable:
                        self._journal.delete(self.number, message)
                    subscription.deliver(message)
                    continue
                subscription.in_flight[subscription.deliver(message)] = message
                subscription.credit -= 1
                if subscription.credit > 0:
                    line.append(subscription)
                else:
                    subscription.in_line = False
            if lane.low:
                self.ask()

    def go_on(self, read: Read) -> None:
        """The other go that was asked for: refill the windows, then dispatch."""
        if self._most:
            self._shorten(read)
        if self._picker is not None:
            self._picker.go_on(read)
            return
        for lane in self.lanes:
            if lane.low and not lane.refill(self.number, read, self.broker.suspect_before):
                self.broker.starving[self] = None  # what it waits for is still being written
            if lane.head or lane.behind:
                break  # lanes below this one are not asked before it is empty
        self.dispatch()

    def report_sent(self, message: Message, subscription: Subscription) -> None:
        """Tell that a consumer is handed a message, with which it is processed if nobody acknowledges it."""
        reports = self.broker.reports
        reports.sent(self, message)
        if subscription.auto:
            reports.ended(self, message, PROCESSED, by=subscription.consumer)

    def taken(self, lane: Lane, message: Message) -> None:
        """Take one message out of a lane, wherever it is."""
        lane.take(message)
        self.waits_no_longer(message)

    def waits_no_longer(self, message: Message) -> None:
        """Count one message less that waits."""
        self.waiting -= 1
        if not message.durable:
            self.charge(-len(message.tail))

    def charge(self, size: int) -> None:
        """Count bytes of what waits here in memory only."""
        self.charged += size
        self.broker.memory.room -= size

    @property
    def full(self) -> bool:
        """True when as much waits as the policy allows. What came last may be more than that, as in ActiveMQ."""
        policy = self.policy
        return bool(
            (policy.max_messages and self.waiting >= policy.max_messages)
            or (policy.memory_limit and self.charged >= policy.memory_limit)
        )

    def lose_all(self) -> None:
        """Whatever waits here, in memory only, is lost."""
        self.charge(-self.charged)
        self.waiting = 0
        self.lanes.clear()
        self._lane_of.clear()

    def ask(self) -> None:
        """Ask for another go, unless that would be in vain before what is being written is on disk."""
        if self not in self.broker.starving:
            self.broker.again[self] = None

    def drop_oldest(self) -> bool:
        """Give up the oldest of the least urgent messages; False if it must be read first."""
        lane = self._last_lane()
        if lane is None:
            return False
        if not lane.head:
            self.ask()
            return False
        self._drop(lane, lane.head[0])
        return True

    def _drop(self, lane: Lane, message: Message) -> None:
        self.taken(lane, message)
        if wants_reports(message):
            self.broker.reports.ended(self, message, FAILED, DISCARDED)
        self.done(message)
        self.dropped += 1
        self.broker.discarded(self, message)

    def _make_room(self, newest: Message) -> None:
        """Give up the oldest messages for the newest one, if more wait than the policy allows."""
        if self._most:
            while self.waiting > self._most and self.drop_oldest():
                pass
        if self._most_charged:
            while self.charged > self._most_charged:
                oldest = self._oldest_in_memory_only()
                if oldest is None or oldest is newest:
                    return
                self._drop(self._lane(oldest.priority), oldest)

    def _oldest_in_memory_only(self) -> Message | None:
        for lane in reversed(self.lanes):
            for message in lane.in_order():
                if not message.durable:
                    return message
        return None

    def _shorten(self, read: Read) -> None:
        """Read the oldest messages to give them up, as long as more wait than the policy allows."""
        for _ in range(ONE_GO):
            lane = self._last_lane()
            if self.waiting <= self._most or lane is None:
                return
            if not (lane.head or lane.refill(self.number, read, self.broker.suspect_before)):
                self.broker.starving[self] = None  # it is still being written
                return
            self.drop_oldest()
        self.ask()

    def _keep(self, message: Message) -> None:
        """Let a message wait, unless somebody who chooses takes it at once."""
        extra = message.extra
        if extra is not None:
            if extra.report is not None:
                self.broker.reports.arrived(self, message)
                # What says so may lie in this very queue already, and older than the message.
                message.seq = self.broker.next_seq
                self.broker.next_seq += 1
            if extra.group and self.grouping and self._picker is None:
                self._choose()
        lane = self._lane(message.priority)
        picker = self._picker
        if picker is not None and picker.offer(lane, message):
            return
        if message.durable:
            self._journal.put(self.number, message)
        else:
            self.charge(len(message.tail))
        self.waiting += 1
        lane.put(message)
        if picker is not None:
            picker.note(lane, message)
        elif self._line:
            self.dispatch()
        if self._most or self._most_charged:
            self._make_room(message)

    def _choose(self) -> None:
        """From now on consumers are served by what they choose."""
        for subscription in self._line:
            subscription.in_line = False
        self._line.clear()
        self._picker = Picker(self)
        self.broker.choosing.add(self)
        self.broker.again[self] = None

    def _line_up(self) -> None:
        """Nobody chooses any more. They are served later: more of them may be about to leave."""
        self._picker = None
        for subscription in self.subscriptions:
            if subscription.hungry:
                subscription.in_line = True
                self._line.append(subscription)

    def _unhand(self, lane: Lane, message: Message) -> None:
        """A message of a group has come up from the store: it must be chosen for."""
        lane.head.appendleft(message)
        lane.bytes += len(message.tail)
        self.waiting += 1
        if not message.durable:
            self.charge(len(message.tail))
        self._choose()

    def _first_lane(self) -> Lane | None:
        """Return the lane whose turn it is, or None if its messages must be read first."""
        for lane in self.lanes:
            if lane.later and not lane.head:
                lane.fill()
            if lane.head:
                return lane
            if lane.behind:
                return None
        return None

    def _last_lane(self) -> Lane | None:
        """Return the lane of the least urgent messages that wait."""
        for lane in reversed(self.lanes):
            if lane.later and not lane.head:
                lane.fill()
            if lane.head or lane.behind:
                return lane
        return None

    def _lane(self, priority: int) -> Lane:
        lane = self._lane_of.get(priority)
        return lane if lane is not None else self._add_lane(Lane(priority))

    def _add_lane(self, lane: Lane) -> Lane:
        self._lane_of[lane.priority] = lane
        self.lanes.append(lane)
        self.lanes.sort(key=lambda each: -each.priority)
        return lane
