"""Stored jobs in the order in which they are due, most of them only on disk.

    head: the next ones, in memory … edge | behind: number > edge, in the store or on the way there

A lane of a queue can rely on new messages being the newest; here a new job may be due before others, so one
number (`edge`) is not enough. What a reader of the store cannot know is remembered, until it is written:

- `fresh`: numbers of jobs that the store may not show yet. Reading back stops before the first of them and
  goes on when it is written, so none is passed over.
- `gone`: numbers of jobs that it may still show. They are passed over, and their numbers are not used again:
  within a batch the store puts before it deletes.

Each stands there with a stamp, a sequence number taken at that moment: once `Broker.committed` has reached
it, the batch is on disk. Both hold what the journal holds, no more: they are as bounded as it is.

A number must be free before it is used. Up to the edge all that exist are in the head; beyond it the store is
asked, with one read. That is the only time that somebody reads outside of `go_on`, and the reader is the one
that `go_on` or `load` brought: nobody lies behind the edge before either was called.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from broker.core.lane import Read
from broker.core.schedule.job import FIRST, ORDINAL_BITS, PRIORITY, Job, number_at

if TYPE_CHECKING:
    from broker.core.broker import Broker

WINDOW = 1000  # jobs that are kept in memory
WINDOW_BYTES = 4 * 1024 * 1024  # bytes of them
END = 1 << 63  # behind every number


class Timeline:
    """The jobs of one stored queue that is no destination."""

    def __init__(self, broker: Broker, name: str) -> None:
        """`name` is that of the stored queue; it leaves no trace before the first job."""
        self.pending = 0  # jobs, in memory and behind
        self._broker = broker
        self._journal = broker.journal
        self._name = name
        self._queue = 0  # names it in the store; 0: not needed yet
        self._head: list[Job] = []  # sorted
        self._bytes = 0  # of the records in head
        self._edge = END  # all jobs up to here are in head
        self._fresh: dict[int, int] = {}  # number → stamp, in the order of stamps
        self._gone: dict[int, int] = {}
        self._settled = 0  # `committed`, when fresh and gone were last looked through
        self._read: Read | None = None
        self._moment = -1  # milliseconds since 1970 of the last number given out
        self._ordinal = 1 << ORDINAL_BITS  # its ordinal; used up, as it were
        self._crashed = False  # before, and nothing was read since
        self._suspect_due = -1  # what is stored and was due by then may have been delivered before

    def load(self, number: int, count: int, read: Read) -> None:
        """Take over what the store holds."""
        self._queue = number
        self._read = read
        self.pending = count
        if count:
            self._edge = FIRST - 1
        self._crashed = self._broker.suspect_before > 0

    @property
    def first(self) -> Job | None:
        """The job that is due next, as far as that is known."""
        return self._head[0] if self._head else None

    @property
    def is_known(self) -> bool:
        """False while the next job must be read first."""
        return bool(self._head) or self._edge == END

    @property
    def unbalanced(self) -> bool:
        """True when `go_on` has something to do: too few jobs are in memory, or too many."""
        head, size = len(self._head), self._bytes
        if head > 1 and (head > WINDOW or size > WINDOW_BYTES):
            return True
        return self._edge != END and head < max(WINDOW // 2, 1) and size < WINDOW_BYTES // 2

    def ordinal_number(self, due: int) -> int:
        """Return a number for what is due at a moment, perhaps not a free one.

        What is sent in one millisecond for one millisecond keeps its order: the ordinals grow, and begin anew
        only when the time has changed.
        """
        now = self._broker.now
        half = 1 << (ORDINAL_BITS - 1)
        if now != self._moment and self._ordinal >= half:
            self._ordinal = scatter(self._broker.next_seq, half)
        self._moment = now
        self._ordinal += 1
        return number_at(due) + self._ordinal

    def free_number(self, due: int) -> int:
        """Return a number for a job that is due at a moment, or a millisecond later if that is full.

        Numbers in use stand close together, so the next one is looked for some way off.
        """
        self._settle()
        number = self.ordinal_number(due)
        tries = 0
        while self._is_taken(number):
            tries += 1
            step = 1 + scatter(self._broker.next_seq + tries, 1 << max(ORDINAL_BITS - 4, 0))
            number += step
            self._ordinal += step
        return number

    def put(self, job: Job) -> None:
        """Keep a job under its number, which is free."""
        if not self._queue:
            self._queue = self._broker.routes.hidden(self._name)
        self.pending += 1
        self._journal.put(self._queue, job.record)
        self._fresh[job.number] = self._stamp()
        if job.number <= self._edge:
            insort(self._head, job, key=place)
            self._bytes += job.size

    def forget(self, job: Job) -> None:
        """Keep a job no longer."""
        number = job.number
        self.pending -= 1
        index = bisect_left(self._head, number, key=place)
        if index < len(self._head) and self._head[index].number == number:
            self._bytes -= self._head.pop(index).size
        self._fresh.pop(number, None)
        if not self._journal.holds(number):  # else it is as if never put
            self._gone[number] = self._stamp()
        self._journal.delete(self._queue, job.record)

    def go_on(self, read: Read) -> bool:
        """Bring the head to its size; False if what it should hold is not on disk yet."""
        self._read = read
        self._settle()
        if self._crashed:
            self._crashed = False
            self._suspect_due = self._broker.now
        while len(self._head) > 1 and (len(self._head) > WINDOW or self._bytes > WINDOW_BYTES):
            latest = self._head.pop()
            self._bytes -= latest.size
            self._edge = latest.number - 1
        if not self.unbalanced:
            return True
        jobs, self._edge, complete = self._read_on(
            read, self._edge, WINDOW - len(self._head), WINDOW_BYTES - self._bytes
        )
        self._head += jobs
        self._bytes += sum(job.size for job in jobs)
        return complete

    def walk(self, read: Read, after: int, count: int) -> tuple[list[Job], int, bool]:
        """Return the next jobs behind a place, the place up to which that is all, and if it can go on at once.

        Nothing is taken out. The last place is `END`; where it cannot go on at once, what follows is not on
        disk yet.
        """
        self._settle()
        if after < self._edge:
            start = bisect_right(self._head, after, key=place)
            jobs = self._head[start : start + count]
            return jobs, jobs[-1].number if jobs else self._edge, True
        return self._read_on(read, after, count, WINDOW_BYTES)

    def _read_on(
        self, read: Read, after: int, count: int, size: int
    ) -> tuple[list[Job], int, bool]:
        limit = min((number for number in self._fresh if number > after), default=END)
        rows = read(self._queue, PRIORITY, after, count, size)
        jobs: list[Job] = []
        for number, meta, data in rows:
            if number >= limit:
                return jobs, limit - 1, False
            after = number
            if number not in self._gone:
                job = Job.from_record(number, meta, data)
                job.suspect = job.due <= self._suspect_due
                jobs.append(job)
        if rows:
            return jobs, after, True
        return (jobs, END, True) if limit == END else (jobs, limit - 1, False)

    def _is_taken(self, number: int) -> bool:
        if number in self._fresh or number in self._gone:
            return True
        if number <= self._edge:
            index = bisect_left(self._head, number, key=place)
            return index < len(self._head) and self._head[index].number == number
        if self._read is None:
            return False  # nobody lies behind the edge
        rows = self._read(self._queue, PRIORITY, number - 1, 1, 0)
        return bool(rows) and rows[0][0] == number

    def _stamp(self) -> int:
        stamp = self._broker.next_seq
        self._broker.next_seq += 1
        return stamp

    def _settle(self) -> None:
        """Forget what every reader of the store can know now."""
        committed = self._broker.committed
        if committed == self._settled:
            return
        self._settled = committed
        for numbers in (self._fresh, self._gone):
            written = []
            for number, stamp in numbers.items():
                if stamp > committed:
                    break
                written.append(number)
            for number in written:
                del numbers[number]


def scatter(number: int, below: int) -> int:
    """Return a number below a power of two, another one for each of consecutive numbers."""
    return (number * 0x9E3779B97F4A7C15 % (1 << 64)) * below >> 64


def place(job: Job) -> int:
    """Return a job's place."""
    return job.number
