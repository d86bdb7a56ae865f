"""Who manages what is scheduled: a SEND to `/topic/ActiveMQ.Scheduler.Management`, as ActiveMQ has it.

    AMQ_SCHEDULER_ACTION:BROWSE      every pending message goes to `reply-to`
    AMQ_SCHEDULER_ACTION:REMOVE      the job that `scheduledJobId` names is no more
    AMQ_SCHEDULER_ACTION:REMOVEALL   all jobs are no more

`ACTION_START_TIME` and `ACTION_END_TIME` (milliseconds since 1970, both included, either may be missing) mean only
jobs that are next due between them. ActiveMQ heeds them only together.

What BROWSE shows is the message with an id of its own, and: `scheduledJobId`, `original-destination`, what was asked
for (`AMQ_SCHEDULED_PERIOD` …) and `AMQ_SCHEDULED_TIME`, the moment it is next due. There is no sign of the end: as
many come as there are. A RECEIPT says that the order was taken; it is carried out turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker.client import number
from broker.core.broker import Broker
from broker.core.fanout import Service
from broker.core.message import Message
from broker.core.names import QUEUE, TOPIC
from broker.core.schedule.job import Job
from broker.errors import Refusal
from broker.qualified import split
from broker.tail import annotate, read_headers
from broker.watch.author import Author, wanted_reply

MANAGEMENT = "ActiveMQ.Scheduler.Management"
ACTION, JOB = "AMQ_SCHEDULER_ACTION", "scheduledJobId"
START, END = "ACTION_START_TIME", "ACTION_END_TIME"
FOREVER = 2**42  # milliseconds since 1970: nothing can be due so late

Headers = Mapping[str, str]


class ScheduleManagement:
    """Carries out what it is told."""

    def __init__(self, broker: Broker, author: Author) -> None:
        self._broker = broker
        self._author = author
        self._actions: dict[str, Callable[[Headers], None]] = {
            "BROWSE": self._browse,
            "REMOVE": self._remove,
            "REMOVEALL": self._remove_all,
        }
        for prefix in (TOPIC, QUEUE, ""):
            broker.routes.services[prefix + MANAGEMENT] = self._serve

    def _serve(self, destination: str) -> Service | None:
        _, name = split(destination)
        return self._author.serve(destination, self._obey) if name == MANAGEMENT else None

    def _obey(self, message: Message) -> None:
        headers = read_headers(message.tail)
        action = self._actions.get(headers.get(ACTION, ""))
        if action is None:
            raise Refusal(
                f"Invalid {ACTION}: {headers.get(ACTION, '')}",
                f"It is one of {', '.join(self._actions)}.",
            )
        action(headers)

    def _browse(self, headers: Headers) -> None:
        wanted_reply(headers, "BROWSE")
        request = {"reply-to": headers["reply-to"]}  # the rest would be kept in vain until its turn
        self._broker.schedule.browse(
            *read_range(headers), lambda job: self._show(request, job), ignore
        )

    def _remove(self, headers: Headers) -> None:
        if JOB not in headers:
            raise Refusal("REMOVE needs a scheduledJobId", "It is a header of what BROWSE shows.")
        self._broker.schedule.remove(headers[JOB], ignore)

    def _remove_all(self, headers: Headers) -> None:
        self._broker.schedule.remove_range(*read_range(headers), ignore)

    def _show(self, request: Headers, job: Job) -> None:
        """Send a copy of a scheduled message to whoever asked."""
        plan = job.plan
        asked = {
            "AMQ_SCHEDULED_TIME": job.due,
            "AMQ_SCHEDULED_DELAY": plan.delay,
            "AMQ_SCHEDULED_PERIOD": plan.period,
            "AMQ_SCHEDULED_REPEAT": plan.repeat,
            "AMQ_SCHEDULED_CRON": plan.cron,
        }
        said = {name: str(value) for name, value in asked.items() if value}
        said |= {JOB: plan.id, "original-destination": plan.destination}
        copy = self._author.copy(annotate(job.tail, said))
        if job.record.extra is not None and job.record.extra.reply:
            copy.mark().reply = True
        self._author.send(request, copy)


def read_range(headers: Headers) -> tuple[int, int]:
    """Return the first and the last moment that are meant. Raises `Refusal`."""
    meaning = "milliseconds since 1970"
    start, end = number(headers, START, 0, meaning), number(headers, END, FOREVER, meaning)
    return max(0, start), min(FOREVER, end)


def ignore(count: int) -> None:
    """Nobody waits to hear how many there were."""
