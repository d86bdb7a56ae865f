"""Room for the calls of methods that may not run as often as they like (`MethodOptions.concurrency`). Pure."""

from __future__ import annotations

from rpc.working.job import Job


class Slots:
    """How many calls of each such method run, and which wait; who came first goes first."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}  # method -> calls that run
        self._waiting: list[Job] = []

    def take(self, job: Job) -> bool:
        """Tell whether a job may run now; else `leave` returns it later."""
        limits = job.request.limits
        if not limits:
            return True
        if not self._has_room(job) or any(
            not limits.keys().isdisjoint(each.request.limits) for each in self._waiting
        ):
            self._waiting.append(job)
            return False
        self._admit(job)
        return True

    def leave(self, job: Job) -> list[Job]:
        """A job is over; return those that may run now."""
        limits = job.request.limits
        if not limits or not job.admitted:
            return []
        for name in limits:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
        waiting, self._waiting = self._waiting, []
        jobs: list[Job] = []
        spoken_for: set[str] = set()
        for each in waiting:
            if spoken_for.isdisjoint(each.request.limits) and self._has_room(each):
                self._admit(each)
                jobs.append(each)
            else:
                spoken_for.update(each.request.limits)
                self._waiting.append(each)
        return jobs

    def _has_room(self, job: Job) -> bool:
        taken = self._taken
        return all(taken.get(name, 0) < most for name, most in job.request.limits.items())

    def _admit(self, job: Job) -> None:
        job.admitted = True
        for name in job.request.limits:
            self._taken[name] = self._taken.get(name, 0) + 1
