"""Methods for what is not in queues: the schedule, connections, durable subscriptions, the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.admin.asking import Asking
from broker.admin.errand import turn, until
from broker.admin.faults import refused, wrong
from broker.admin.finding import check_range
from broker.admin.outside import House
from broker.admin.showing import show
from broker.core.message import Message
from broker.core.names import TOPIC
from broker.core.schedule.job import Job
from broker.errors import Refusal

MOST = 1000  # jobs that are shown at once
FOREVER = 2**42  # milliseconds since 1970: nothing can be due so late
BODY_BYTES = 1000

Object = dict[str, Any]


class Answer:
    """Waits for what a search in the schedule says at its end."""

    def __init__(self) -> None:
        self.count = -1  # before it has ended
        self._resume: Callable[[], None] | None = None

    def say(self, count: int) -> None:
        """The search has ended, and found so many."""
        self.count = count
        if self._resume is not None:
            self._resume()

    async def wait(self) -> int:
        """Return what was found, once the search has ended."""
        if self.count < 0:
            await until(self._listen)
        return self.count

    def _listen(self, resume: Callable[[], None]) -> None:
        self._resume = resume


class Upkeep:
    """Does what is asked."""

    def __init__(self, house: House, asking: Asking) -> None:
        self._asking = asking
        self._house = house
        self._broker = house.broker

    async def schedule(self, limit: int = 100, start: int = 0, end: int = FOREVER) -> Object:
        """Show the first scheduled messages that are next due from `start` to `end`, and how many there are.

        Both in milliseconds since 1970, and included.
        """
        check_range("limit", limit, 1, MOST)
        check_range("start", start, 0, FOREVER)
        check_range("end", end, 0, FOREVER)
        jobs: list[tuple[int, Object]] = []
        answer = Answer()

        def show_one(job: Job) -> None:
            if len(jobs) < limit or job.number < jobs[-1][0]:
                jobs.append((job.number, show_job(job)))
                jobs.sort(key=lambda each: each[0])
                del jobs[limit:]

        try:
            self._broker.schedule.browse(start, end, show_one, answer.say)
        except Refusal as error:
            raise refused(error) from None
        count = await answer.wait()
        return {"jobs": [job for _, job in jobs], "total": count}

    async def unschedule(self, id: str) -> Object:
        """Remove a scheduled message, with all its repetitions. The series that its cron has begun have ids of their own."""
        answer = Answer()
        try:
            self._broker.schedule.remove(id, answer.say)
        except Refusal as error:
            raise refused(error) from None
        if not await answer.wait():
            raise wrong("id", f"there is no scheduled message {id!r}")
        return {"removed": 1}

    async def close_connection(self, id: str) -> Object:
        """End a connection with an ERROR; what it held goes back to its queues."""
        if all(client.session != id for client in self._house.presence.clients):
            raise wrong("id", f"there is no connection {id!r}")
        self._house.dismiss(id, Refusal("The connection was closed by an administrator"))
        return {"closed": 1}

    async def unsubscribe_durable(self, client_id: str, name: str) -> Object:
        """End a durable subscription that has no consumer, and forget what it held."""
        queue = self._broker.durables.get(client_id, name)
        destination = f"{TOPIC}>" if queue is None else queue.destination
        self._asking.asker.check_administer(destination)
        try:
            self._broker.durables.unsubscribe(client_id, name)
        except Refusal as error:
            raise refused(error) from None
        return {"removed": 1}

    async def reset_statistics(self) -> Object:
        """Begin to count anew, everywhere."""
        await turn()
        self._house.statistics.reset()
        return {"reset": self._broker.now}


def show_job(job: Job) -> Object:
    """Return a scheduled message as an object of JSON; times in milliseconds."""
    plan, record = job.plan, job.record
    message = Message(job.number, job.tail, record.durable, record.plain, plan.priority)
    return {
        "id": plan.id,
        "destination": plan.destination,
        "due": job.due,
        "delay": plan.delay,
        "period": plan.period,
        "repeat": plan.repeat,
        "cron": plan.cron or None,
        "message": show(message, BODY_BYTES),
    }
