"""Messages for later: scheduled deliveries, once or repeated, and messages given back for a while.

A job waits in one stored queue that is no destination (`broker.core.schedule.timeline`), or in memory if its message is
not stored. When it is due, one turn deletes its record, or puts it back under its next moment, and puts a copy
into its destination under a sequence number of its own. That is one batch of the journal, so a kill at any
moment neither loses a delivery nor makes two.

As ActiveMQ (5.17, by its behaviour; reference §2.6), to the millisecond where ActiveMQ rounds to seconds:

- the first delivery comes after `delay`, or after `period` if there is no delay; `repeat` more follow, each a
  `period` after the one before, -1 without end;
- with `cron` every tick is a delivery; or, if there is a delay or a repetition, the begin of such a series,
  which is a job of its own;
- every copy says `scheduledJobId`; a lifetime begins with the delivery; the copies of a job that goes on have
  ids of their own, but for the first.

Better than ActiveMQ: what was due while the broker was down comes once, in the order it was due, and a period
goes on along its grid without loss of repetitions. All deliveries are 1 + `repeat`, however late they are.

A delivery that its destination refuses (a temporary one is gone, the store is full for one more copy) is dropped
and counted; a job that goes on comes again.

Moments are of the broker's time of day, which follows slowly when the system's clock is set (`broker.net.wall`).
`wake` arranges one call of `tick`. It is asked for moments on half the way, again and again half of what is left,
so that even if every new job is due before all others, there are never more calls arranged than a moment has bits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from broker.core.each import for_each
from broker.core.lane import Read
from broker.core.message import Message
from broker.core.schedule.job import FIRST, LAST_DUE, Job, Plan, due_at, number_at
from broker.core.schedule.timeline import END, Timeline
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.fanout import Route

STORED_AS = "\0schedule"  # no destination has a name with NUL
ONE_GO = 250  # deliveries before others get their turn
FEW = (
    16  # before a look whether it is late: to a topic with many subscribers each may take its time
)
MOST_SEARCHES = 5000  # that wait: whoever asks for more at once gets no answer in time anyway
ONE_LOOK = 200  # jobs that a search looks at before others get their turn
AT_ONCE = 100  # milliseconds between repetitions without a period, as measured of ActiveMQ
JOB = "job"  # begins the ids
HUSKS = 1000  # jobs and calls that have ended whose places in the heap are not cleared out yet


class Call:
    """Something else to be done at a moment."""

    __slots__ = ("call", "ended")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.ended = False  # nobody wants it any more


class Search:
    """A look through all jobs, continued from turn to turn."""

    __slots__ = (
        "before",
        "done",
        "each",
        "first",
        "found",
        "hint",
        "id",
        "in_memory",
        "last",
        "place",
        "waits",
    )

    def __init__(
        self,
        id: str,
        first: int,
        last: int,
        each: Callable[[Job], object],
        done: Callable[[int], object],
        before: int,
    ) -> None:
        """For the job of an id, or if that is empty for all with a number from `first` to `last`.

        These were made before the sequence number `before` was given: what comes while a look goes on is not
        meant by whoever asked for it.
        """
        self.before = before
        self.id = id
        self.first = first
        self.last = last
        self.each = each  # called with every job that is found
        self.done = done  # called at the end, with how many there were
        self.found = 0
        self.hint = number_in(id)  # where to look first; 0: nowhere
        self.place = first - 1  # stored ones up to here have been looked at
        self.in_memory: list[str] | None = None  # ids of the others, still to be looked at
        self.waits = False  # what comes next is not on disk yet

    def wants(self, job: Job) -> bool:
        """Tell whether this is one of them. What was given back is nobody's to manage."""
        if self.id:
            return job.plan.id == self.id
        return (
            bool(job.plan.id)
            and self.first <= job.number <= self.last
            and made_at(job.plan.id) < self.before
        )

    @property
    def at_end(self) -> bool:
        """True when there can be no more."""
        return self.place >= self.last or bool(self.id and self.found)


class Schedule:
    """All jobs, and what is done when they are due."""

    def __init__(
        self,
        broker: Broker,
        next_cron: Callable[[str, int], int],
        wake: Callable[[int], None],
        rename: Callable[[bytes, int], bytes],
    ) -> None:
        """See `broker.core.broker.Outside`; each call of `wake` arranges one of `tick`."""
        self.dropped = 0  # deliveries that their destination refused
        self._broker = broker
        self._next_cron = next_cron
        self._wake = wake
        self._rename = rename
        self._wakes: list[int] = []  # moments at which `tick` will be called, the next one last
        self._stored = Timeline(broker, STORED_AS)
        #: What is not stored: a heap of number, which came first, and what is to be done.
        self._heap: list[tuple[int, int, Job | Call]] = []
        self._came = count()
        self._husks = 0  # of those in the heap have ended before their moment
        self._in_memory: dict[str, Job] = {}  # those in the heap that have an id
        self._searches: deque[Search] = deque()

    @property
    def pending(self) -> int:
        """How many jobs there are, and other calls."""
        return self._stored.pending + len(self._heap) - self._husks

    def load(self, number: int, records: int, read: Read) -> None:
        """Take over the stored queue `STORED_AS`: its number, and how many records it has."""
        self._stored.load(number, records, read)
        if records:
            self._broker.again[self] = None
            self._wake_at(self._broker.now)

    def add(
        self,
        destination: str,
        message: Message,
        delay: int,
        period: int = 0,
        repeat: int = 0,
        cron: str = "",
    ) -> str:
        """Deliver a message later; return the id of its job. Times in milliseconds, none negative.

        It is stored if the message is `durable`, whatever its destination does then. Raises `Refusal` if it
        would never be delivered.
        """
        now = self._broker.now
        if repeat and not period:
            period = AT_ONCE
        due = now + (delay or period)
        if cron:
            try:
                due = self._next_cron(cron, now)
            except ValueError as error:
                raise Refusal(f"Invalid schedule: {cron}", str(error)) from None
        if due > LAST_DUE:
            raise Refusal("The message is scheduled too late", "It must be due before 2109.")
        plan = Plan("", destination, message.priority, now, True, delay, period, repeat, cron)
        job = self._put(due, plan, message, message.tail, named=False)
        self._go_on_later()
        return job.plan.id

    def postpone(self, destination: str, message: Message, due: int) -> None:
        """Put a message that was given back into its destination at a moment, as it is now."""
        plan = Plan("", destination, message.priority, self._broker.now, False)
        self._put(due, plan, message, message.tail)
        self._go_on_later()

    def call_at(self, due: int, call: Callable[[], None]) -> Call:
        """Call something at a moment, in order with the jobs; it is not stored. See `cancel`."""
        number, later = self._stored.ordinal_number(due), Call(call)
        heapq.heappush(self._heap, (number, next(self._came), later))
        self._go_on_later()
        return later

    def cancel(self, call: Call) -> None:
        """Do not call it, if that has not been done."""
        if not call.ended:
            call.ended = True
            call.call = nothing
            self._leave_husk()

    def tick(self, now: int) -> None:
        """The moment that `wake` was asked for. `now` in milliseconds since 1970."""
        if self._wakes:
            self._wakes.pop()
        try:
            self._deliver(now)
        finally:
            self._go_on_later()

    def sweep(self) -> None:
        """Look whether something is due, now and then: the clock may have been set."""
        try:
            self._deliver(self._broker.now)
        finally:
            self._go_on_later()

    def go_on(self, read: Read) -> None:
        """The other go that was asked for: read jobs, deliver those that are due, look for others."""
        broker, stored = self._broker, self._stored
        waits = not stored.go_on(read)
        try:
            try:
                self._deliver(broker.now)
            finally:
                self._look(read)
        finally:
            search_waits = bool(self._searches) and self._searches[0].waits
            if waits or search_waits:
                broker.starving[self] = None  # what it waits for is still being written
            searches = bool(self._searches) and not search_waits
            if searches or (stored.unbalanced and not waits) or self._is_due():
                broker.again[self] = None
            self._announce()

    # For whoever manages jobs.

    def browse(
        self,
        start: int,
        end: int,
        each: Callable[[Job], object],
        done: Callable[[int], object],
    ) -> None:
        """Call `each` with every job that is next due from `start` to `end`, then `done` with their number.

        Both in milliseconds since 1970, and included. It takes several turns: a job that goes on meanwhile
        may be met twice. First come those in memory, in no order, then those that are stored, in the order in
        which they are due. Raises `Refusal` when too many others wait.
        """
        first, last = number_at(start), number_at(end + 1) - 1
        self._search(Search("", first, last, each, done, self._broker.next_seq))

    def remove(self, id: str, done: Callable[[int], object]) -> None:
        """Remove the job of an id, then call `done` with 1, or with 0 if there is none.

        The series that its cron has begun are jobs of their own. Raises `Refusal` when too many others wait.
        """
        if not number_in(id):
            done(0)  # no job ever had such an id: not worth a look through all
            return
        self._search(Search(id, FIRST, END, self._remove, done, self._broker.next_seq))

    def remove_range(self, start: int, end: int, done: Callable[[int], object]) -> None:
        """Remove all jobs that are next due from `start` to `end`, then call `done` with their number."""
        self.browse(start, end, self._remove, done)

    def _search(self, search: Search) -> None:
        if len(self._searches) >= MOST_SEARCHES:
            raise Refusal("Too many orders wait for the schedule", "Give them again later.")
        self._searches.append(search)
        self._go_on_later()

    def _look(self, read: Read) -> None:
        """Continue with the first search."""
        if not self._searches:
            return
        search = self._searches[0]
        complete = True
        if search.in_memory is None:
            search.in_memory = [search.id] if search.id else list(self._in_memory)
        if search.in_memory:
            ids = search.in_memory[-ONE_LOOK:]
            del search.in_memory[-ONE_LOOK:]
            jobs = [self._in_memory[id] for id in ids if id in self._in_memory]
        elif search.hint:
            jobs, _, _ = self._stored.walk(read, search.hint - 1, 1)
            search.hint = 0
        else:
            jobs, search.place, complete = self._stored.walk(read, search.place, ONE_LOOK)
        search.waits = not complete
        found = [job for job in jobs if search.wants(job)]
        search.found += len(found)
        ended = search.at_end
        if ended:
            self._searches.popleft()
        try:
            for_each(found, search.each)
        finally:
            if ended:
                search.done(search.found)

    def _remove(self, job: Job) -> None:
        if job.record.durable:
            self._stored.forget(job)
            return
        self._end_in_memory(job)
        job.record.tail = b""
        self._leave_husk()

    def _leave_husk(self) -> None:
        """Something in the heap has ended before its moment."""
        self._husks += 1
        if self._husks > HUSKS and self._husks > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].ended]
            heapq.heapify(self._heap)
            self._husks = 0

    # What is due.

    def _deliver(self, now: int) -> None:
        """Do what is due, not more than others can wait for."""
        after, left = number_at(now + 1), ONE_GO
        while left and (due := self._take_due(after, min(left, FEW))):
            left -= len(due)
            for_each(
                due, lambda each: each.call() if isinstance(each, Call) else self._fire(each, now)
            )
            if self._broker.late:
                return

    def _take_due(self, after: int, most: int) -> list[Job | Call]:
        """Take out the next of what has a number before `after`."""
        due: list[Job | Call] = []
        while len(due) < most and (first := self._first()) < after:
            stored = self._stored.first
            if stored is not None and stored.number == first:
                # At once, so that nothing gets its number before it is given up.
                self._stored.forget(stored)
                due.append(stored)
                continue
            _, _, each = heapq.heappop(self._heap)
            if isinstance(each, Job):
                self._end_in_memory(each)
            else:
                each.ended = True
            due.append(each)
        return due

    def _fire(self, job: Job, now: int) -> None:
        plan, tail = job.plan, job.tail
        if plan.cron:
            try:
                due = self._next_cron(plan.cron, max(now, job.due))
            except ValueError:
                due = LAST_DUE + 1
            self._put_again(due, plan._replace(first=False), job, tail)
        elif plan.repeat:
            missed = (now - job.due) // plan.period
            due = job.due + plan.period * (missed + 1)
            left = plan.repeat - 1 if plan.repeat > 0 else plan.repeat
            self._put_again(due, plan._replace(first=False, repeat=left), job, tail)
        try:
            if plan.goes_on:
                self._broker.admit(job.record.durable, job.size)
            if plan.series:
                due = job.due + (plan.delay or plan.period)
                begun = plan._replace(delay=0, cron="")
                if due <= LAST_DUE:
                    self._put(due, begun, job.record, tail, named=False)
            else:
                self._hand_over(job, tail, now)
        except Refusal:
            self.dropped += 1

    def _hand_over(self, job: Job, tail: bytes, now: int) -> None:
        """Put a copy into its destination. Raises `Refusal`."""
        broker, plan, record = self._broker, job.plan, job.record
        expires = job.expires(now)
        if plan.id:
            if expires and expires <= now:
                return  # sent too late, whenever it is delivered
            tail = broker.annotate(tail, {"scheduledJobId": plan.id})
        # What was given back returns to its queue; whoever else it was sent to has it.
        find = broker.routes.find if plan.id else broker.routes.source
        route: Route = find(plan.destination)
        seq = broker.next_seq
        broker.next_seq += 1
        if plan.id and not plan.first:
            tail = self._rename(tail, seq)
        durable = record.durable and route.durable
        message = Message(seq, tail, durable, record.plain, plan.priority, expires)
        message.returns = record.returns
        if record.redelivered or job.suspect:
            message.mark_redelivered()
        if record.extra is not None:
            message.extra = record.extra.copy()
            message.special = True
        route.put(message)

    def _put_again(self, due: int, plan: Plan, job: Job, tail: bytes) -> None:
        if due <= LAST_DUE:
            self._put(due, plan, job.record, tail)

    def _put(
        self, due: int, plan: Plan, message: Message, tail: bytes, *, named: bool = True
    ) -> Job:
        """Keep a job; unless it is `named` already, under an id that no job had before."""
        stored, broker = self._stored, self._broker
        number = (stored.free_number if message.durable else stored.ordinal_number)(due)
        if not named:
            plan = plan._replace(id=f"{JOB}-{number}-{broker.next_seq}")
            broker.next_seq += 1
        job = Job.make(number, plan, message, tail)
        if message.durable:
            stored.put(job)
        else:
            broker.memory.room -= job.size
            heapq.heappush(self._heap, (number, next(self._came), job))
            if plan.id:
                self._in_memory[plan.id] = job
        return job

    def _end_in_memory(self, job: Job) -> None:
        job.ended = True
        self._broker.memory.room += job.size
        self._in_memory.pop(job.plan.id, None)

    # When it must be looked at.

    def _first(self) -> int:
        """Return the number of what is due next; `END` if there is nothing, or it must be read first."""
        heap = self._heap
        while heap and heap[0][2].ended:
            heapq.heappop(heap)
            self._husks -= 1
        if not self._stored.is_known:
            return END
        stored = self._stored.first
        number = stored.number if stored is not None else END
        return min(number, heap[0][0]) if heap else number

    def _is_due(self) -> bool:
        return self._first() < number_at(self._broker.now + 1)

    def _go_on_later(self) -> None:
        """Ask for another go if there is anything to do, and to be woken if there will be."""
        if self._stored.unbalanced or self._searches or self._is_due():
            self._broker.again[self] = None
        self._announce()

    def _announce(self) -> None:
        first = self._first()
        left = due_at(first) - self._broker.now
        if first < END and left > 0:
            moment = self._broker.now + (1 << (left.bit_length() - 1))
            if not self._wakes or moment < self._wakes[-1]:
                self._wake_at(moment)

    def _wake_at(self, moment: int) -> None:
        self._wakes.append(moment)
        self._wake(moment)


def nothing() -> None:
    """Take the place of a call that nobody wants any more."""


def number_in(id: str) -> int:
    """Return the number that the job of an id had at first, and mostly still has; 0 if it is no id of ours."""
    kind, _, rest = id.partition("-")
    digits = rest.partition("-")[0]
    if kind != JOB or not digits.isdecimal() or len(digits) > len(str(END)):
        return 0
    number = int(digits)
    return number if FIRST <= number < END else 0


def made_at(id: str) -> int:
    """Return the sequence number that was given when the job of an id of ours was made."""
    return int(id.rpartition("-")[2])
