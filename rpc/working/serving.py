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

import logging
from collections.abc import Callable, Sequence
from typing import Any

from broker.stomp import Frame
from rpc.codec import codec_for
from rpc.errors import (
    ErrorReply,
    Overloaded,
    RemoteError,
    RemoteTimeout,
    is_reply,
)
from rpc.link import Link
from rpc.message import MOST_CREDIT, request_queue, service_topic
from rpc.working.describing import describe
from rpc.working.job import Job
from rpc.working.limits import ServingOptions
from rpc.working.methods import Asked, Methods
from rpc.working.once import Once, readdressed
from rpc.working.results import MemoryResults, Results
from rpc.working.slots import Slots
from rpc.working.tally import Tallies

log = logging.getLogger("rpc")

QUEUE, TOPIC = "calls", "all"  # ids of our subscriptions
SERVING = "serving"  # the receipt that tells that calls reach us
ACKNOWLEDGED = "acknowledged-"  # begins those that tell that a call will not come again
GOODBYE = "goodbye"  # and the one that tells that all we said was heard
GIVEN_UP = 10_000  # calls that were cancelled before they came, that are remembered
LONGEST = 1000  # characters of their ids
LOOK = 0.1  # seconds between two looks for the end of what runs in another process
DOUBLINGS = 20  # of the pause between tries; by then it is days
NONE: dict[str, str] = {}


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
        self._most = options.most
        self._once = Once(service, name, results)
        self._wall = wall
        self._started = wall()
        self._running: dict[Job, None] = {}
        self._pending = 0  # taken in and not done
        self._by_origin: dict[str, Job] = {}  # of those, by who asked, and as what
        self._by_key: dict[str, Job] = {}  # and by idempotency key
        self._given_up: dict[str, None] = {}  # correlation-ids of calls that may yet come
        self._unheard = MemoryResults(wall)  # replies whose acknowledgement was lost
        self._unsent: list[
            bytes
        ] = []  # replies that nobody else will give, while there is no connection
        self._receipts = 0
        self._unacknowledged: dict[str, Job] = {}  # receipt → what is run when it comes
        self._held: list[bytes] = []  # acknowledgements held back while stopping
        self._elsewhere: dict[Job, None] = {}  # what another process runs: its result will be ours
        self._slots = Slots()
        self._tallies = Tallies()
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
            self._once.release(job)
        self._unacknowledged.clear()
        self._leave_elsewhere()

    def stop(self) -> None:
        """Take nothing new: what comes now, and what another process runs, goes to other workers."""
        self.stopping = True
        log.info("Leaving %s; calls to finish: %d", self.queue, len(self._running))
        self._leave_elsewhere()

    def _leave_elsewhere(self) -> None:
        for job in self._elsewhere:
            self._forget(job)
        self._elsewhere.clear()

    def farewell(self, link: Link) -> bytes:
        """Return the last words on a connection; RECEIPT `GOODBYE` tells that they were heard."""
        return b"".join(self._held) + link.disconnect(receipt=GOODBYE)

    # A request comes.

    def take(self, frames: Sequence[Frame]) -> tuple[list[Job], bytes]:
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
                out.append(self._answer_at_once(job))
            elif not self.stopping:
                self._enter(job, jobs, out)
        return jobs, b"".join(out)

    def _remembered(self, job: Job, key: str) -> bytes | None:
        """Return what is said about a job that was done before; None if it was not."""
        try:
            is_done, body = self._once.remembered(job, key)
        except ErrorReply as error:
            return self._refuse(job, error)
        return self._close(job, body) if is_done else None

    def _answer_at_once(self, job: Job) -> bytes:
        """Return the answer to a request that asks for nothing of the user's, unless no worker can give it."""
        if job.attempt > self._options.max_deliveries:
            return self._give_up_on(job)
        return self._close(job, job.request.run())

    def _give_up_on(self, job: Job) -> bytes:
        """Make a dead letter of what was handed out too often."""
        tries = job.attempt - 1
        error = ErrorReply(f"Given up: handed out {tries} times without success")
        return self._refuse(job, error, dead=True)

    def _enter(self, job: Job, jobs: list[Job], out: list[bytes]) -> None:
        """Let a job in: add it to `jobs` if it is to be run now, and what is to be said to `out`."""
        data = self._stop_at_the_door(job)
        if data is not None:
            out.append(data)
            return
        self._pending += 1
        if job.origin is not None:
            self._by_origin[job.origin] = job
        if job.key is not None:
            self._by_key[job.key] = job
            if not self._once.claim(job):
                self._elsewhere[job] = None
                return
        self._begin_with(job, jobs, out)

    def _begin_with(self, job: Job, jobs: list[Job], out: list[bytes]) -> None:
        # What is not to be run twice, or has replies that are not to come twice, is acknowledged first.
        is_once = job.credit is not None or job.request.options.delivery == "at-most-once"
        if is_once and not job.settled:
            out.append(self._acknowledge_first(job))
        elif self._slots.take(job):
            jobs.append(job)

    def _acknowledge_first(self, job: Job) -> bytes:
        """Return the acknowledgement of a job that is run once that is safe, or not at all."""
        self._receipts += 1
        receipt = f"{ACKNOWLEDGED}{self._receipts}"
        self._unacknowledged[receipt] = job
        return job.link.ack(job.frame, receipt=receipt)

    def _acknowledged(self, receipt: Frame) -> Job | None:
        """Return the job that may be run now that the broker has heard its acknowledgement."""
        job = self._unacknowledged.pop(receipt.headers.get("receipt-id", ""), None)
        if job is None:
            return None
        job.settled = True
        return job if self._slots.take(job) else None

    def _stop_at_the_door(self, job: Job) -> bytes | None:
        """Return what is said about a job that will not be run, which may be nothing yet; else None."""
        call_id, origin, options = job.call_id, job.origin, job.request.options
        if call_id in self._given_up:
            del self._given_up[call_id]
            return self._close(job, None)
        twin = None
        if origin is not None:
            body = self._unheard.get(origin)
            if body is not None:
                return self._close(job, body)
            twin = self._by_origin.get(origin)
        key = self._once.key_of(job) if options.idempotent else None
        if twin is None and key is not None:
            twin = self._by_key.get(key)
            if twin is None and (data := self._remembered(job, key)) is not None:
                return data
        if twin is not None:  # it is being served
            return self._join(twin, job)
        if job.attempt > self._options.max_deliveries and job.attempt > options.retries + 1:
            return self._give_up_on(job)
        most = self._most
        # A notification waits: nobody would learn that it was refused.
        if most is not None and self._pending >= most and job.wants_reply and not job.everyone:
            return self._refuse(job, Overloaded("Too much to do", retry_after=self._retry_after()))
        job.key = key
        return None

    def _join(self, twin: Job, job: Job) -> bytes:
        """Let a job have the reply of the one that is being served."""
        if job.credit is not None:  # its items are on their way already
            return self._close(job, None)
        first, last = twin.wanted_until, job.expires
        twin.twins = (*twin.twins, job)
        if job.origin is not None:
            self._by_origin.setdefault(job.origin, twin)
        if twin.deadline is not None and twin.request.options.timeout is None:
            # It would be stopped when its own caller waits no longer; this one may wait longer.
            if first is None or last is None:
                twin.deadline = None
            else:
                twin.deadline += max(0.0, last - first)
        return b""

    # What another process runs.

    @property
    def is_looking(self) -> bool:
        """True while another process runs what was asked here: `end_overdue` is wanted every `LOOK` s."""
        return bool(self._elsewhere)

    def _look(self, jobs: list[Job], out: list[bytes]) -> None:
        """See what has become of the jobs that other processes run."""
        wall = self._wall()
        for job in list(self._elsewhere):
            if job.is_unwanted(wall):
                self._forget(job)
                out.extend(self._close(each, None) for each in (job, *job.twins))
            elif (data := self._remembered(job, job.key or "")) is not None:
                self._forget(job)
                out.append(data)
                for twin in job.twins:
                    self._enter(twin, jobs, out)
            elif self._once.claim(job):
                self._begin_with(job, jobs, out)
            else:
                continue
            del self._elsewhere[job]

    def _refuse(self, job: Job, error: ErrorReply, *, dead: bool = False) -> bytes:
        responses = [self.failed(job, asked, error) for asked in job.request.asked]
        return self._close(job, job.request.reply(responses), dead=dead)

    def _retry_after(self) -> float:
        """Return in how many seconds there is probably room again."""
        done = self._tallies.total()
        each = done.seconds / done.calls if done.calls else 0.1
        return round(max(0.05, each * self._pending / self._options.concurrency), 3)

    # It is run.

    def begin(self, job: Job, now: float) -> bool:
        """Tell whether to run a job, at `now` (monotonic); one that is not is to be finished all the same."""
        wall, link = self._wall(), self.link
        if job.is_unwanted(wall):
            return False
        if not job.settled and job.link is not link and not any(t.link is link for t in job.twins):
            return False  # it comes again
        self._running[job] = None
        job.begun = now
        job.endless = job.credit is not None
        options = job.request.options
        if options.timeout is not None:
            job.deadline = now + options.timeout
        elif job.request.is_async and not job.endless and (expires := job.wanted_until) is not None:
            job.deadline = now + expires - wall  # such a function can be stopped
        return True

    def failed(self, job: Job, asked: Asked, error: BaseException) -> bytes | None:
        """Return the response that tells of a failure; None if nobody wants it."""
        code = error.code if is_reply(error) else RemoteError.code
        self._tallies[job.name].failed(code)
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

        `seconds`: how long its functions took; `failure`: what the last of them raised. Without `responses`
        it was not run, or was stopped. A job that took too long was finished already: nothing more is said.
        """
        if not self._forget(job):
            return [], b""
        jobs = self._slots.leave(job)
        out: list[bytes] = []
        if not responses:
            self._once.release(job)
            out.append(self._close(job, None))
            wall = self._wall()
            for twin in job.twins:  # its caller may still wait
                if twin.is_overdue(wall) or twin.link is not self.link:
                    out.append(self._close(twin, None))
                else:
                    self._enter(twin, jobs, out)
            return jobs, b"".join(out)
        self._tallies[job.name].done(len(responses), seconds)
        options, dead = job.request.options, False
        if failure is not None and options.retries and not job.settled and job.link.can_give_back:
            if job.attempt <= options.retries and not is_reply(failure):
                self._once.release(job)
                delay = options.retry_delay * 2 ** min(job.attempt - 1, DOUBLINGS)
                out.extend(self._settle(each, retry=delay) for each in (job, *job.twins))
                return jobs, b"".join(out)
            dead = not is_reply(failure) or isinstance(failure, RemoteTimeout)
        body = job.request.reply(responses)
        # Of a batch, which is not tried again, some may be done.
        if failure is None or (job.request.is_batch and not isinstance(failure, RemoteTimeout)):
            self._once.keep(job, body)
        self._once.release(job)
        data = self._close(job, body, dead=dead)
        if not job.twins:
            return jobs, data
        out.append(data)
        for twin in job.twins:
            same = twin.origin is not None and twin.origin == job.origin
            its = body if same else readdressed(twin, job.codec.name, body)
            out.append(self._close(twin, its, dead=dead))
        return jobs, b"".join(out)

    def end_overdue(self, now: float) -> tuple[list[Job], bytes]:
        """End the jobs that take longer than their methods may, or than their callers wait.

        Returns the jobs that waited for them, and what is to be said.
        """
        late = [job for job in self._running if job.deadline is not None and job.deadline <= now]
        jobs: list[Job] = []
        out: list[bytes] = []
        for job in late:
            limit = job.request.options.timeout
            if limit is None:  # nobody waits any more
                more, data = self.finish(job)
            else:
                error = RemoteTimeout(f"Longer than {limit} s")
                responses = [self.failed(job, asked, error) for asked in job.request.asked]
                more, data = self.finish(job, responses, limit, error)
            jobs += more
            out.append(data)
            self.give_up(job)
        if self._elsewhere:
            self._look(jobs, out)
        return jobs, b"".join(out)

    def next_overdue(self) -> float | None:
        """Return when the first job is overdue (monotonic); None for never."""
        return min(
            (job.deadline for job in self._running if job.deadline is not None), default=None
        )

    @property
    def concurrency(self) -> int:
        """How many jobs are to run at once."""
        return self._options.concurrency

    @property
    def busy(self) -> bool:
        """True while jobs are here."""
        return self._pending > 0

    @property
    def is_owed(self) -> bool:
        """True while what was acknowledged before it is run waits for the broker's word."""
        return bool(self._unacknowledged)

    # It is over.

    def _forget(self, job: Job) -> bool:
        """Take a job off the books; False if it is off already."""
        if job.over:
            return False
        job.over = True
        self._pending -= 1
        self._running.pop(job, None)
        if job.origin is not None and self._by_origin.get(job.origin) is job:
            del self._by_origin[job.origin]
        for twin in job.twins:
            if twin.origin is not None and self._by_origin.get(twin.origin) is job:
                del self._by_origin[twin.origin]
        if job.key is not None and self._by_key.get(job.key) is job:
            del self._by_key[job.key]
        return True

    def _close(self, job: Job, body: bytes | None, *, dead: bool = False) -> bytes:
        """Reply to a job, and acknowledge it behind that."""
        if job.link is not self.link and not job.settled and body is not None:
            # Without an acknowledgement it comes again: then it is answered.
            if job.origin is not None:
                self._unheard.put(job.origin, body)
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
            **self._tallies.total().as_json(),
            "methods": methods,
        }

    def _cancel(self, id: str) -> None:
        """Nobody waits for this call any more."""
        found = self._named(id)
        for job, each in found:
            each.cancelled = True
            if job.cancelled and all(twin.cancelled for twin in job.twins):
                self.give_up(job)
        if found or len(id) > LONGEST:
            return
        self._given_up[id] = None
        if len(self._given_up) > GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def _give_credit(self, id: str, credit: int) -> None:
        """So many more items of a stream are wanted."""
        for job, each in self._named(id):
            if job is each and job.credit is not None and credit > 0:
                job.credit = min(job.credit + credit, MOST_CREDIT)
                if job.changed is not None:
                    job.changed()

    def _named(self, id: str) -> list[tuple[Job, Job]]:
        """Return what has this correlation-id, each with the job that is run for it; of one caller only."""
        jobs = dict.fromkeys(self._by_origin.values())
        found = [(job, each) for job in jobs for each in (job, *job.twins) if each.call_id == id]
        return found if len({each.origin for _, each in found}) == 1 else []

    def give_up(self, job: Job) -> None:
        """Nobody waits for a job any more; whoever runs it is told."""
        job.cancelled = True
        if job.changed is not None:
            job.changed()
