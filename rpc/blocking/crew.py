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
from typing import Generic, TypeVar

Job = TypeVar("Job")

QUICK = 250e-6  # seconds: a few times what handing a job to another thread costs
TRUSTED = 16  # quick runs that make a kind of job worth doing without handing over
MOST = 2 * TRUSTED  # and so many more make up for one that is slow, as any may be on a busy machine
WATCH = 0.05  # seconds between two looks at a leader that does a job itself


class Crew(Generic[Job]):
    """`size` workers and a leader among them."""

    def __init__(
        self,
        lead: Callable[[], Iterable[Job]],
        work: Callable[[Job, bool], float],
        kind: Callable[[Job], str],
        alarm: Callable[[], None],
        size: int,
    ) -> None:
        """`lead` waits for jobs and is called by one thread at a time; `work` does one.

        `work` returns for how many seconds it ran what may take long, beside what every job takes; it is
        told whether the leader does the job itself, so that nobody is in `lead` before it is done.
        `kind` names jobs that take about equally long, or is "" for those nobody can know. `alarm`
        asks the owner to call `watch` now, and tells that a thread has ended; it must not wait. What
        `lead` or `work` raises ends the crew and is found in `failure`.
        """
        self._lead = lead
        self._work = work
        self._kind = kind
        self._alarm = alarm
        self._size = size
        self._mutex = threading.Lock()  # guards all below
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
        """Lead, work or wait, until the crew is stopped: the life of each thread."""
        parked = threading.Lock()
        parked.acquire()
        try:
            while self._turn(parked):
                pass
        except BaseException as failure:
            with self._mutex:
                self.failure = self.failure or failure
                if self._leader is parked:
                    self._leader = None
                self._stop()
        finally:
            self._alarm()

    def _turn(self, me: threading.Lock) -> bool:
        """Do the next thing there is to do; False if nothing will ever be."""
        with self._mutex:
            leading = self._leader is me
            if self._jobs and self._running < self._size:
                job = self._jobs.popleft()
                kind = self._kind(job)
                in_place = self._begin(me, kind)
            elif self._stopping:
                if leading:
                    self._leader = None
                return False
            else:
                job = None
                if self._leader is None:
                    self._leader = me
                    leading = True
                elif not leading:
                    self._idle.append(me)
        if job is not None:
            seconds = QUICK  # what a job that fails counts as
            try:
                seconds = self._work(job, in_place)
            finally:
                self._end(me, kind, seconds, in_place)
        elif leading:
            self._jobs.extend(self._lead())
        else:
            me.acquire()  # until `_wake_one` or `_stop`
        return True

    def _begin(self, me: threading.Lock, kind: str) -> bool:
        """Note that a job begins and see to the lead; True if the leader does it itself."""
        self._running += 1
        if self._leader not in (me, None):
            return False
        if self._stopping:
            self._leader = None
            return False
        if self._trust.get(kind, 0) < TRUSTED:
            self._leader = None
            self._wake_one()
            return False
        self._leader = me
        self._in_place += 1
        if self._seen < 0:
            self._seen = 0
            self._alarm()
        return True

    def _end(self, me: threading.Lock, kind: str, seconds: float, in_place: bool) -> None:
        with self._mutex:
            self._running -= 1
            if in_place and self._leader is me:  # else `watch` has noted the end for us
                self._in_place += 1
            if kind:
                trust = self._trust.get(kind, 0) + (1 if seconds < QUICK else -TRUSTED)
                self._trust[kind] = max(0, min(trust, MOST))
