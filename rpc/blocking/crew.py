"""Threads that take turns at waiting for jobs and doing them, so that quick jobs need no thread hop.

Handing a job from one thread to another costs more here than a whole quick function. So:

1. one thread of the crew *leads*: it calls `lead`, which waits for jobs;
2. before it does a job that may take long, it gives the lead to another thread and becomes a worker. So
   somebody leads at any time, which is what keeps heart-beats going while a function blocks;
3. a job of a kind that is quick nearly always is done by the leader itself, without handing over;
4. should such a job take long for once, `watch` notices and gives the lead away behind its back.

Never more than `size` jobs run at once; one thread more than that exists at most, and only once needed.
Knows threads; what a job is, and where it comes from, is its owner's business.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

Job = TypeVar("Job")
Came = TypeVar("Came")  # what jobs are made of
Done = TypeVar("Done")  # what becomes of one

QUICK = 250e-6  # seconds: a few times what handing a job to another thread costs
TRUSTED = 16  # quick runs that make a kind of job worth doing without handing over
MOST = 2 * TRUSTED  # and so many more make up for one that is slow, as any may be on a busy machine
WATCH = 0.05  # seconds between two looks at a leader that does a job itself


@dataclass(frozen=True, slots=True)
class Duties(Generic[Job, Came, Done]):
    """What jobs are, to a crew. All but `lead` and `work` are called with its mutex held.

    What any of them raises ends the crew and is found in `Crew.failure`.
    """

    #: Waits for what jobs are made of; called by one thread at a time.
    lead: Callable[[], Came]
    #: Makes jobs of it.
    take: Callable[[Came], Iterable[Job]]
    #: Names jobs that take about equally long; "" for those nobody can know.
    kind: Callable[[Job], str]
    #: A job is about to be done.
    begin: Callable[[Job], None]
    #: Does it.
    work: Callable[[Job], Done]
    #: It is done; tells which jobs waited for that, and for how many seconds it ran what may take long, beside
    #: what every job takes. Told: whether the leader did it and does more at once, before anybody is in `lead`.
    end: Callable[[Job, Done, bool], tuple[Iterable[Job], float]]
    #: Asks to call `watch` now, or tells that a thread has ended; must not wait.
    alarm: Callable[[], object]


class Turn(Enum):
    """What a thread may do besides a job."""

    LEAD = "lead"
    WAIT = "wait"
    STOP = "stop"


# To ask the class for them is slow (Python 3.11).
LEAD: Final = Turn.LEAD
WAIT: Final = Turn.WAIT
STOP: Final = Turn.STOP


class Crew(Generic[Job, Came, Done]):
    """`size` workers and a leader among them."""

    def __init__(self, duties: Duties[Job, Came, Done], mutex: threading.Lock, size: int) -> None:
        """`mutex` guards what the duties share with others, and all of ours."""
        self._lead = duties.lead
        self._take = duties.take
        self._kind = duties.kind
        self._note_begin = duties.begin
        self._work = duties.work
        self._note_end = duties.end
        self._alarm = duties.alarm
        self._size = size
        self._mutex = mutex
        self._jobs: deque[Job] = deque()
        self._leader: threading.Lock | None = None  # the `parked` of the thread that leads
        self._running = 0  # jobs being done
        self._idle: list[threading.Lock] = []  # parked threads; releasing a lock wakes its thread
        self.threads: list[threading.Thread] = []  # never more than size + 1
        self._stopping = False
        self._trust: dict[str, int] = {}  # kind -> quick runs, less TRUSTED for each slow one
        self._in_place = 0  # counts up when the leader begins a job itself and when it has done it
        self._seen = -1  # what _in_place was when `watch` last looked; -1: nobody looks
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Let the first thread lead."""
        with self._mutex:
            self._wake_one()

    def add(self, jobs: Iterable[Job]) -> None:
        """Do some more jobs, which did not come through `lead`."""
        with self._mutex:
            self._add(jobs)

    def _add(self, jobs: Iterable[Job]) -> None:
        self._jobs.extend(jobs)
        for _ in range(min(len(self._jobs), len(self._idle))):
            self._wake_one()

    def stop(self) -> None:
        """Let nobody lead any more; what was taken in is still done. `lead` must be made to return."""
        with self._mutex:
            self._stop()

    def join(self) -> None:
        """Wait until the threads of a stopped crew have ended."""
        for thread in self.threads:
            thread.join()

    @property
    def busy(self) -> bool:
        """True while jobs are being done or wait to be."""
        return bool(self._running or self._jobs)

    @property
    def led(self) -> bool:
        """True while a thread is in `lead`, or about to be."""
        return self._leader is not None

    def watch(self) -> bool:
        """Give the lead away if the leader has been doing one job itself since the last look.

        Returns whether to look again in `WATCH` seconds; if not, `alarm` tells when.
        """
        with self._mutex:
            at_work = self._in_place % 2 == 1
            if at_work and self._seen == self._in_place:
                self._in_place += 1
                self._leader = None
                self._wake_one()
                at_work = False
            quiet = not at_work and self._seen == self._in_place
            self._seen = -1 if quiet else self._in_place
            return not quiet

    def _wake_one(self) -> None:
        """Bring one more thread to what there is to do. With the mutex held."""
        if self._idle:
            self._idle.pop().release()
        elif len(self.threads) <= self._size and not self._stopping:
            thread = threading.Thread(
                target=self._turns, name=f"rpc-worker-{len(self.threads)}", daemon=True
            )
            self.threads.append(thread)
            thread.start()

    def _stop(self) -> None:
        self._stopping = True
        while self._idle:
            self._idle.pop().release()

    def _turns(self) -> None:
        """Lead, work or wait, until the crew is stopped: the life of each thread.

        A lock costs as much as ten lines: between any two of these things it is taken once, for all there
        is to note.
        """
        me = threading.Lock()
        me.acquire()
        try:
            with self._mutex:
                turn = self._next(me)
            while turn is not STOP:
                if turn is LEAD:
                    came = self._lead()
                    with self._mutex:
                        self._jobs.extend(self._take(came))
                        turn = self._next(me)
                elif turn is WAIT:
                    me.acquire()  # until `_wake_one` or `_stop`
                    with self._mutex:
                        turn = self._next(me)
                else:
                    try:
                        done = self._work(turn)
                    except BaseException:
                        with self._mutex:
                            self._running -= 1
                        raise
                    with self._mutex:
                        self._end(me, turn, done)
                        turn = self._next(me)
        except BaseException as failure:
            with self._mutex:
                self.failure = self.failure or failure
                if self._leader is me:
                    self._leader = None
                self._stop()
        finally:
            self._alarm()

    def _next(self, me: threading.Lock) -> Job | Turn:
        """Return what there is to do next. With the mutex held, as all that follows."""
        if self._jobs and self._running < self._size:
            job = self._jobs.popleft()
            self._begin(me, job)
            return job
        if self._stopping:
            if self._leader is me:
                self._leader = None
            return STOP
        if self._leader is None:
            self._leader = me
        elif self._leader is not me:
            self._idle.append(me)
            return WAIT
        return LEAD

    def _begin(self, me: threading.Lock, job: Job) -> None:
        """Note that a job begins and see to the lead: its thread keeps it if the job is quick."""
        self._note_begin(job)
        self._running += 1
        if self._leader not in (me, None):
            return
        if self._stopping:
            self._leader = None
        elif self._trust.get(self._kind(job), 0) < TRUSTED:
            self._leader = None
            self._wake_one()
        else:
            self._leader = me
            self._in_place += 1
            if self._seen < 0:
                self._seen = 0
                self._alarm()

    def _end(self, me: threading.Lock, job: Job, done: Done) -> None:
        self._running -= 1
        leads = self._leader is me  # else it never did, or `watch` has noted the end for us
        if leads:
            self._in_place += 1
        jobs, seconds = self._note_end(job, done, leads and bool(self._jobs))
        if jobs:
            self._add(jobs)
        if kind := self._kind(job):
            trust = self._trust.get(kind, 0) + (1 if seconds < QUICK else -TRUSTED)
            self._trust[kind] = max(0, min(trust, MOST))
