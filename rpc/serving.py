"""A worker without a socket: which requests are to be run, and what is said about each.

All faces share it: they move the bytes, pass the time in, and run functions, in threads or on a loop. A
request's way::

    jobs, data = serving.take(frames)             # what needs no running is answered already
    if serving.begin(job, now): ...               # else nobody waits for it any more
        run job.request.asked, one after the other
    jobs, data = serving.finish(job, responses)   # the reply, and its acknowledgement

`data` goes over the connection that there is now. A request is acknowledged over the one that it came
over; if that is lost, the broker gives it out again, and whoever served it meanwhile answers at once.
Not locked: a face that has threads holds its own lock around each verb.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.stomp import Frame
from rpc.codec import codec_for
from rpc.describing import describe
from rpc.errors import ErrorReply, Overloaded, RemoteError, RemoteTimeout, is_reply
from rpc.job import Job
from rpc.link import Link
from rpc.message import request_queue, service_topic
from rpc.methods import Asked, Methods
from rpc.results import MemoryResults, Results

QUEUE, TOPIC = "calls", "all"  # ids of our subscriptions
SERVING = "serving"  # the receipt that tells that calls reach us
ACKNOWLEDGED = "acknowledged-"  # begins those that tell that a call will not come again
GOODBYE = "goodbye"  # and the one that tells that all we said was heard
SHED = 32  # calls beyond those that may wait that are taken in, to be refused at once
GIVEN_UP = 10_000  # calls that were cancelled before they came, that are remembered
DELIVERIES = 5  # how often a call is handed out before it is suspected of killing workers
NONE: dict[str, str] = {}


@dataclass(slots=True)
class Tally:
    """What became of the calls of one method, or of all."""

    calls: int = 0  # that are done
    seconds: float = 0.0  # spent in functions
    errors: dict[int, int] = field(default_factory=dict)  # JSON-RPC code -> how often

    def as_json(self) -> dict[str, Any]:
        """Return it as `rpc.stats` tells it."""
        errors = {str(code): count for code, count in self.errors.items()}
        return {"calls": self.calls, "seconds": round(self.seconds, 6), "errors": errors}


@dataclass(slots=True)
class Crowd:
    """The calls of a method that may not run as often as they like."""

    running: int = 0
    waiting: deque[Job] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How a worker serves. Raises `ValueError` for what makes no sense."""

    concurrency: int = 8  # calls that run at once, and that are taken from the queue ahead
    backlog: int | None = None  # calls that may wait here before others are told `Overloaded`
    max_deliveries: int = DELIVERIES  # before a call is a dead letter, and its caller told so
    tracebacks: bool = False  # callers get the traceback of what a function raised
    doc: str = ""  # what the service is for, for `rpc.describe`

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency is a number of calls from 1 on, not {self.concurrency}")
        if self.backlog is not None and self.backlog < 0:
            raise ValueError(f"backlog is a number of calls from 0 on, or None: {self.backlog}")
        if self.max_deliveries < 1:
            raise ValueError(f"max_deliveries is a number from 1 on, not {self.max_deliveries}")

    @property
    def most(self) -> int | None:
        """Calls that may be here at once; None: as many as the broker gives."""
        return None if self.backlog is None else self.concurrency + self.backlog

    @property
    def prefetch(self) -> int:
        """Calls that the broker may hand out ahead."""
        return self.concurrency if self.most is None else self.most + SHED


class Serving:
    """The calls of one worker."""

    def __init__(
        self,
        service: str,
        methods: Methods,
        name: str,
        options: ServingOptions,
        results: Results,
        wall: Callable[[], float],
    ) -> None:
        """`name` is the worker's own; `wall` returns seconds since 1970."""
        self.service = service
        self.queue = request_queue(service)
        self.topic = service_topic(service)
        self.name = name
        self.stopping = False  # what is acknowledged now would only bring more
        self.link: Link | None = None  # the connection that there is now
        self._methods = methods
        self._options = options
        self._results = results
        self._wall = wall
        self._started = wall()
        self._running: dict[Job, None] = {}
        self._pending = 0  # taken in and not done
        self._by_id: dict[str, Job] = {}  # of those, by correlation-id
        self._by_key: dict[str, Job] = {}  # and by idempotency key
        self._given_up: dict[str, None] = {}  # correlation-ids of calls that may yet come
        self._unheard = MemoryResults(wall)  # replies whose acknowledgement was lost
        self._unsent: list[
            bytes
        ] = []  # replies that nobody else will give, while there is no connection
        self._receipts = 0
        self._unacknowledged: dict[str, Job] = {}  # receipt → what is run when it comes
        self._held: list[bytes] = []  # acknowledgements held back while stopping
        self._crowds: dict[str, Crowd] = {}
        self._all = Tally()
        self._tallies: dict[str, Tally] = {}
        for name_, own in (
            ("ping", self._ping),
            ("describe", self._describe),
            ("stats", self._stats),
            ("cancel", self._cancel),
            ("credit", self._give_credit),
        ):
            methods.add_own(own, f"rpc.{name_}")

    # A connection.

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first; RECEIPT `SERVING` tells that it was heard."""
        self.link = link
        unsent, self._unsent = b"".join(self._unsent), []
        return (
            link.subscribe(self.topic, TOPIC, "auto")
            + link.subscribe(
                self.queue,
                QUEUE,
                "client-individual",
                prefetch=self._options.prefetch,
                receipt=SERVING,
            )
            + unsent
        )

    def lost(self) -> None:
        """The connection is lost: what was not acknowledged comes again, here or elsewhere."""
        self.link = None
        self._held.clear()
        for job in self._unacknowledged.values():  # whether it comes again nobody knows
            self._forget(job)
        self._unacknowledged.clear()

    def farewell(self, link: Link) -> bytes:
        """Return the last words on a connection; RECEIPT `GOODBYE` tells that they were heard."""
        return b"".join(self._held) + link.disconnect(receipt=GOODBYE)

    # A request comes.

    def take(self, frames: list[Frame]) -> tuple[list[Job], bytes]:
        """Take requests in; return those that are to be run, and what is to be sent at once."""
        jobs: list[Job] = []
        out: list[bytes] = []
        link = self.link
        if link is None:
            return jobs, b""
        for frame in frames:
            if frame.command != "MESSAGE":
                if frame.command == "RECEIPT" and (job := self._acknowledged(frame)) is not None:
                    jobs.append(job)
                continue
            headers = frame.headers
            everyone = headers.get("subscription") == TOPIC
            if self.stopping and not everyone:
                continue  # not acknowledged, it goes to another worker
            codec = codec_for(headers.get("content-type"))
            request = self._methods.read(frame.body, codec)
            job = Job(frame, link, request, codec, everyone=everyone)
            if request.is_quick:  # nothing of the user's is run
                out.append(self._close(job, request.run()))
            elif (data := self._stop_at_the_door(job)) is not None:
                out.append(data)
            else:
                self._pending += 1
                if job.call_id is not None:
                    self._by_id[job.call_id] = job
                if job.is_first_acknowledged:
                    out.append(self._acknowledge_first(job, link))
                elif self._is_admitted(job):
                    jobs.append(job)
        return jobs, b"".join(out)

    def _acknowledge_first(self, job: Job, link: Link) -> bytes:
        """Return the acknowledgement of a job that is run once that is safe, or not at all."""
        self._receipts += 1
        receipt = f"{ACKNOWLEDGED}{self._receipts}"
        self._unacknowledged[receipt] = job
        return link.ack(job.frame, receipt=receipt)

    def _acknowledged(self, receipt: Frame) -> Job | None:
        """Return the job that may be run now that the broker has heard its acknowledgement."""
        job = self._unacknowledged.pop(receipt.headers.get("receipt-id", ""), None)
        if job is None:
            return None
        job.settled = True
        return job if self._is_admitted(job) else None

    def _stop_at_the_door(self, job: Job) -> bytes | None:
        """Return what is said about a job that will not be run, which may be nothing yet; else None."""
        call_id, options = job.call_id, job.request.options
        if call_id in self._given_up:
            del self._given_up[call_id]
            return self._close(job, None)
        key = job.frame.headers.get("idempotency-key") or call_id if options.idempotent else None
        body = None
        if key is not None:
            body = self._results.get(key)
        elif call_id is not None:
            body = self._unheard.get(call_id)
        if body is not None:
            return self._close(job, body)
        twin = None if call_id is None else self._by_id.get(call_id)
        if twin is None and key is not None:
            twin = self._by_key.get(key)
        if twin is not None:  # it is being served
            twin.twins = (*twin.twins, job)
            return b""
        if job.attempt > max(self._options.max_deliveries, options.retries + 1):
            given_up = ErrorReply(f"Given up: handed out {job.attempt - 1} times without success")
            return self._refuse(job, given_up, dead=True)
        most = self._options.most
        if most is not None and self._pending >= most and not job.everyone:
            return self._refuse(job, Overloaded("Too much to do", retry_after=self._retry_after()))
        if key is not None:
            job.key = key
            self._by_key[key] = job
        return None

    def _refuse(self, job: Job, error: ErrorReply, *, dead: bool = False) -> bytes:
        responses = [self.failed(job, asked, error) for asked in job.request.asked]
        return self._close(job, job.request.reply(responses), dead=dead)

    def _retry_after(self) -> float:
        """Return in how many seconds there is probably room again."""
        done = self._all
        each = done.seconds / done.calls if done.calls else 0.1
        return round(max(0.05, each * self._pending / self._options.concurrency), 3)

    def _is_admitted(self, job: Job) -> bool:
        """Tell whether a job's method may run once more at the same time; else it waits."""
        limit = job.request.options.concurrency
        if limit is None:
            return True
        crowd = self._crowds.setdefault(job.name, Crowd())
        if crowd.running >= limit:
            crowd.waiting.append(job)
            return False
        crowd.running += 1
        return True

    # It is run.

    def begin(self, job: Job, now: float) -> bool:
        """Tell whether to run a job, at `now` (monotonic); one that is not is to be finished all the same."""
        wall, link = self._wall(), self.link
        if job.is_overdue(wall):
            return False
        if not job.settled and job.link is not link and not any(t.link is link for t in job.twins):
            return False  # it comes again
        self._running[job] = None
        job.endless = job.credit is not None
        options = job.request.options
        if options.timeout is not None:
            job.deadline = now + options.timeout
        elif job.request.is_async and not job.endless and (expires := job.expires) is not None:
            job.deadline = now + expires - wall  # such a function can be stopped
        return True

    def failed(self, job: Job, asked: Asked, error: BaseException) -> bytes | None:
        """Return the response that tells of a failure; None if nobody wants it."""
        code = error.code if is_reply(error) else RemoteError.code
        for tally in (self._all, self._tally(job)):
            tally.errors[code] = tally.errors.get(code, 0) + 1
        return asked.failed(error, self._options.tracebacks)

    def item(self, job: Job, value: Any) -> bytes:
        """Return one item of a stream; whoever runs it waits while `job.credit` is 0.

        Raises `ErrorReply` for a value that the codec cannot express.
        """
        body = job.request.asked[0].succeeded(value)
        job.credit = (job.credit or 0) - 1
        return self._say(job, body, self._in_stream(job))

    def finish(
        self,
        job: Job,
        responses: Sequence[bytes | None] = (),
        seconds: float = 0.0,
        failure: BaseException | None = None,
    ) -> tuple[list[Job], bytes]:
        """Return what is said about a job at its end, and the jobs that waited for it to be over.

        `seconds`: how long its functions took; `failure`: what the last of them raised. A job that took
        too long was finished already: nothing more is said.
        """
        if not self._forget(job):
            return [], b""
        for tally in (self._all, self._tally(job)):
            tally.calls += len(responses)
            tally.seconds += seconds
        options = job.request.options
        if failure is not None and options.retries and not job.settled:
            if job.attempt <= options.retries and not is_reply(failure):
                data = self._settle(job, retry=options.retry_delay * 2 ** (job.attempt - 1))
                twins = [self._settle(twin, retry=options.retry_delay) for twin in job.twins]
                return self._next(job), data + b"".join(twins)
            dead = True
        else:
            dead = False
        body = job.request.reply(responses) if responses else None
        if body is not None and failure is None and job.key is not None:
            self._results.put(job.key, body)
        data = self._close(job, body, dead=dead)
        for twin in job.twins:
            data += self._close(twin, body, dead=dead)
        return self._next(job), data

    def end_overdue(self, now: float) -> tuple[list[Job], bytes]:
        """End the jobs that take longer than their methods may, or than their callers wait.

        Returns the jobs that waited for them, and what is to be said.
        """
        late = [job for job in self._running if job.deadline is not None and job.deadline <= now]
        jobs: list[Job] = []
        out = b""
        for job in late:
            limit = job.request.options.timeout
            error = RemoteTimeout(f"Longer than {limit} s" if limit else "Nobody waits any more")
            responses = [self.failed(job, asked, error) for asked in job.request.asked]
            more, data = self.finish(job, responses, limit or 0.0, error)
            jobs += more
            out += data
            self.give_up(job)
        return jobs, out

    def next_overdue(self) -> float | None:
        """Return when the first job is overdue (monotonic); None for never."""
        return min(
            (job.deadline for job in self._running if job.deadline is not None), default=None
        )

    @property
    def busy(self) -> bool:
        """True while jobs are here."""
        return self._pending > 0

    # It is over.

    def _forget(self, job: Job) -> bool:
        """Take a job off the books; False if it is off already."""
        if job.over:
            return False
        job.over = True
        self._pending -= 1
        self._running.pop(job, None)
        if job.call_id is not None and self._by_id.get(job.call_id) is job:
            del self._by_id[job.call_id]
        if job.key is not None:
            self._by_key.pop(job.key, None)
        return True

    def _next(self, job: Job) -> list[Job]:
        """Return the job that waited for this one."""
        crowd = self._crowds.get(job.name)
        if crowd is None or job.request.options.concurrency is None:
            return []
        if crowd.waiting:
            return [crowd.waiting.popleft()]
        crowd.running -= 1
        return []

    def _close(self, job: Job, body: bytes | None, *, dead: bool = False) -> bytes:
        """Reply to a job, and acknowledge it behind that."""
        if job.link is not self.link and not job.settled and body is not None:
            # Without an acknowledgement it comes again: then it is answered.
            if job.call_id is not None:
                self._unheard.put(job.call_id, body)
            return b""
        if body is not None and job.is_overdue(self._wall()):
            body = None  # it would only be a dead letter
        more = NONE if job.credit is None else self._in_stream(job) | {"stream-end": "true"}
        return self._say(job, body, more) + self._settle(job, dead=dead)

    def _say(self, job: Job, body: bytes | None, more: dict[str, str]) -> bytes:
        if job.everyone:
            more = more | {"worker": self.name}
        link = self.link
        data = job.reply("1.2" if link is None else link.version, body, more)
        if link is None and data:
            self._unsent.append(data)
            return b""
        return data

    def _in_stream(self, job: Job) -> dict[str, str]:
        seq = job.seq
        job.seq += 1
        return {"stream-seq": str(seq)}

    def _settle(self, job: Job, *, dead: bool = False, retry: float | None = None) -> bytes:
        """Acknowledge a job; or make a dead letter of it; or give it back for `retry` seconds."""
        if job.settled:
            return b""
        job.settled = True
        link = self.link
        if link is None or job.link is not link:
            return b""
        if retry is not None:
            return link.nack(job.frame, delay=retry)
        said = link.nack(job.frame) if dead else link.ack(job.frame)
        if self.stopping:
            self._held.append(said)
            return b""
        return said

    def _tally(self, job: Job) -> Tally:
        tally = self._tallies.get(job.name)
        if tally is None:
            tally = self._tallies[job.name] = Tally()
        return tally

    # What every worker can be asked.

    def _ping(self) -> str:
        """Answer, to show that somebody is there."""
        return "pong"

    def _describe(self) -> dict[str, Any]:
        """Tell what the service offers."""
        return {
            "service": self.service,
            "worker": self.name,
            "doc": self._options.doc,
            "methods": describe(self._methods),
        }

    def _stats(self) -> dict[str, Any]:
        """Tell what was done so far."""
        methods = {name: tally.as_json() for name, tally in self._tallies.items() if name}
        return {
            "service": self.service,
            "worker": self.name,
            "started": self._started,
            "running": len(self._running),
            "waiting": self._pending - len(self._running),
            **self._all.as_json(),
            "methods": methods,
        }

    def _cancel(self, id: str) -> None:
        """Nobody waits for this call any more."""
        job = self._by_id.get(id)
        if job is not None:
            self.give_up(job)
            return
        self._given_up[id] = None
        if len(self._given_up) > GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def _give_credit(self, id: str, credit: int) -> None:
        """So many more items of a stream are wanted."""
        job = self._by_id.get(id)
        if job is not None and job.credit is not None and credit > 0:
            job.credit += credit
            if job.changed is not None:
                job.changed()

    def give_up(self, job: Job) -> None:
        """Nobody waits for a job any more; whoever runs it is told."""
        job.cancelled = True
        if job.changed is not None:
            job.changed()
