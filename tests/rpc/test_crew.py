"""Threads that take turns, without a socket: jobs come from a queue that the test fills."""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from rpc.blocking.crew import QUICK, TRUSTED, Crew, Duties

PATIENCE = 10.0  # seconds until a test gives up waiting

Job = tuple[str, Callable[[], float]]  # its kind, and what is to be done


Jobs = Crew[Job, list[Job], float]


def make_crew(lead: Callable[[], list[Job]], alarm: Callable[[], object], size: int) -> Jobs:
    mutex = threading.Lock()

    def take(jobs: list[Job]) -> list[Job]:
        assert mutex.locked()
        return jobs

    def begin(job: Job) -> None:
        assert mutex.locked()

    def end(job: Job, seconds: float, more: bool) -> tuple[list[Job], float]:
        assert mutex.locked()
        return [], seconds

    duties = Duties(lead, take, lambda job: job[0], begin, lambda job: job[1](), end, alarm)
    return Crew(duties, mutex, size)


class Office:
    """A crew whose jobs are functions, with the ears that a crew's owner needs."""

    def __init__(self, size: int) -> None:
        self.inbox: queue.Queue[list[Job]] = queue.Queue()
        self.alarms = threading.Semaphore(0)
        self.leading = 0  # threads in `lead` at this moment
        self.crew = make_crew(self.lead, self.alarms.release, size)
        self.crew.start()

    def lead(self) -> list[Job]:
        self.leading += 1
        assert self.leading == 1
        jobs = self.inbox.get()
        self.leading -= 1
        return jobs

    def give(self, *jobs: Job) -> None:
        self.inbox.put(list(jobs))

    def close(self) -> None:
        self.crew.stop()
        self.give()  # what makes `lead` return
        for thread in self.crew.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Stage:
    """A job that says when it began and waits to be let go."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.thread: threading.Thread | None = None

    def __call__(self) -> float:
        self.thread = threading.current_thread()
        self.began.release()
        assert self.go.acquire(timeout=PATIENCE)
        return 1.0

    def wait(self) -> None:
        assert self.began.acquire(timeout=PATIENCE)


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office(2)
    yield office
    office.close()
    assert office.crew.failure is None


def settle(crew: Jobs) -> None:
    """Wait until no job is being done and every thread but the leader is parked.

    A job's end is noted a moment after the job has ended, and a thread that has ended one looks for the
    next before it parks: until then it would take what the test means the leader to do.
    """
    deadline = monotonic() + PATIENCE
    while crew.busy or len(crew._idle) < len(crew.threads) - 1:
        assert monotonic() < deadline
        os.sched_yield()


def earn_trust(office: Office, kind: str) -> None:
    """Do enough quick jobs of a kind, one after the other."""
    for _ in range(TRUSTED):
        do_quickly(office, kind)


def do_quickly(office: Office, kind: str) -> threading.Thread:
    """Do one job that says it was quick; return the thread that did it."""
    stage = Stage()
    stage.go.release()

    def quick() -> float:
        stage()
        return 0.0

    office.give((kind, quick))
    stage.wait()
    settle(office.crew)
    assert stage.thread is not None
    return stage.thread


def test_somebody_leads_while_another_works(office: Office) -> None:
    first, second = Stage(), Stage()
    office.give(("", first))
    first.wait()
    office.give(("", second))  # taken in although a job is being done
    second.wait()
    assert office.crew.busy
    first.go.release()
    second.go.release()
    assert first.thread is not second.thread


def test_never_more_jobs_at_once_than_the_size(office: Office) -> None:
    stages = [Stage() for _ in range(5)]
    office.give(*[("", stage) for stage in stages])
    stages[0].wait()
    stages[1].wait()
    for n in (2, 3, 4):
        assert not stages[n].began.acquire(blocking=False)
        stages[n - 2].go.release()
        stages[n].wait()
    for stage in stages[3:]:
        stage.go.release()
    assert len(office.crew.threads) <= 3


def test_a_kind_that_is_always_quick_is_done_by_the_leader(office: Office) -> None:
    earn_trust(office, "quick")
    assert len({do_quickly(office, "quick") for _ in range(20)}) == 1


def test_a_leader_that_is_stuck_in_a_quick_job_loses_the_lead(office: Office) -> None:
    earn_trust(office, "quick")
    stuck, other = Stage(), Stage()
    office.give(("quick", stuck), ("quick", other))
    stuck.wait()
    assert not other.began.acquire(blocking=False)
    deadline = monotonic() + PATIENCE
    while not other.began.acquire(timeout=0.01):
        assert monotonic() < deadline
        office.crew.watch()
    other.go.release()
    stuck.go.release()
    settle(office.crew)
    do_quickly(office, "quick")  # and all goes on


def test_the_owner_is_called_to_watch_only_while_it_matters(office: Office) -> None:
    earn_trust(office, "quick")
    while office.crew.watch():
        pass
    while office.alarms.acquire(blocking=False):
        pass
    stuck = Stage()
    office.give(("quick", stuck))
    stuck.wait()
    assert office.alarms.acquire(timeout=PATIENCE)
    assert office.crew.watch()
    stuck.go.release()


def test_one_slow_run_and_trust_must_be_earned_again(office: Office) -> None:
    earn_trust(office, "job")
    slow = Stage()
    slow.go.release()
    office.give(("job", slow))
    slow.wait()
    settle(office.crew)
    stage, other = Stage(), Stage()
    office.give(("job", stage))
    stage.wait()
    office.give(("job", other))  # handed over, so somebody is there to take this in
    other.wait()
    stage.go.release()
    other.go.release()


def test_what_was_taken_in_is_done_after_stopping() -> None:
    office = Office(1)
    first, second = Stage(), Stage()
    office.give(("", first), ("", second))
    first.wait()
    office.crew.stop()
    first.go.release()
    second.wait()
    second.go.release()
    office.close()
    assert (office.crew.busy, office.crew.led) == (False, False)


@pytest.mark.parametrize("where", ["lead", "work"])
def test_what_breaks_ends_the_crew_and_is_told(where: str) -> None:
    class BrokenError(Exception):
        """What breaks."""

    def breaks() -> float:
        raise BrokenError

    def lead() -> list[Job]:
        if where == "lead":
            breaks()
        return [("", breaks)]

    ended = threading.Semaphore(0)
    crew = make_crew(lead, ended.release, 1)
    crew.start()
    assert ended.acquire(timeout=PATIENCE)
    for thread in crew.threads:
        thread.join(PATIENCE)
    assert isinstance(crew.failure, BrokenError)
    assert not crew.led


def test_quick_is_a_fraction_of_a_millisecond() -> None:
    assert 0 < QUICK < 0.001
