"""What is run once: the results of idempotent calls, found again by key, and who runs what (`Results`).

A result is kept with the name of its codec, and given to another caller as his own: under his id, in his codec.
Pure, like `serving`; a memory of results that fails is logged, and no call is run that might have been before.
"""

from __future__ import annotations

import logging

from rpc.codec import codec_named
from rpc.errors import ErrorReply, InvalidRequest
from rpc.working.asked import ABSENT
from rpc.working.job import Job
from rpc.working.results import Results, SharedResults

log = logging.getLogger("rpc")


class Once:
    """The results of one worker's idempotent calls."""

    def __init__(self, service: str, worker: str, results: Results) -> None:
        self._service = service
        self._worker = worker
        self._results = results
        self._shared = results if isinstance(results, SharedResults) else None

    def key_of(self, job: Job) -> str | None:
        """Return under what a job's result is kept; None if it is not.

        A key is its caller's: what one user may not call is not told to him because another called it.
        """
        if not job.request.options.idempotent or job.credit is not None:
            return None  # a stream's items are gone when they are sent
        key = job.headers.get("idempotency-key")
        if key is None or key == job.call_id:
            key = job.origin
        if key is None:
            return None
        here = self._worker if job.everyone else ""  # each worker is to do it
        return "\0".join((self._service, job.name, job.headers.get("JMSXUserID", ""), here, key))

    def remembered(self, job: Job, key: str) -> tuple[bool, bytes | None]:
        """Tell whether a job was done before, and what its caller is to be told.

        Raises `ErrorReply` if that cannot be found out.
        """
        try:
            kept = self._results.get(key)
        except Exception as error:
            log.exception("Results of earlier calls cannot be read")
            raise ErrorReply(f"Whether it was run before cannot be told: {error}") from None
        if kept is None:
            return False, None
        name, _, body = kept.partition(b"\n")
        return True, readdressed(job, name.decode(), body)

    def keep(self, job: Job, body: bytes | None) -> None:
        """A job is done: who asks under its key again gets this reply."""
        if job.key is None:
            return
        codec = job.codec
        if body is None:  # a notification: who asks later is told that it is done
            body = codec.batch(()) if job.request.is_batch else codec.result_body(None, None)
        try:
            self._results.put(job.key, b"%b\n%b" % (codec.name.encode(), body))
            job.claimed = False
        except Exception:  # it is done all the same
            log.exception("The result of an idempotent call cannot be kept")

    def claim(self, job: Job) -> bool:
        """Tell whether no other process runs what has this job's key."""
        if self._shared is None or job.key is None:
            return True
        try:
            job.claimed = self._shared.claim(job.key)
        except Exception:
            log.exception("Whether another process runs a call cannot be told")
            return False  # until it can, or nobody waits any more
        return job.claimed

    def release(self, job: Job) -> None:
        """A job has ended, and whoever comes next may run it."""
        if job.claimed and self._shared is not None and job.key is not None:
            job.claimed = False
            try:
                self._shared.release(job.key)
            except Exception:
                log.exception("Other processes cannot be told that a call has ended")


def readdressed(job: Job, codec: str, body: bytes | None) -> bytes | None:
    """Return a reply that was written for another call as a job's own: with its id, and in its codec."""
    ids = [asked.call_id for asked in job.request.asked if asked.call_id is not ABSENT]
    if body is None or not ids:
        return None
    try:
        told = codec_named(codec).decode(body)
        responses = told if isinstance(told, list) else [told]
        if len(responses) != len(ids) or isinstance(told, list) != job.request.is_batch:
            wrong = InvalidRequest("Something else was asked under this idempotency-key before")
            return job.request.reply([asked.failed(wrong) for asked in job.request.asked])
        for response, call_id in zip(responses, ids, strict=True):
            response["id"] = call_id
        return job.codec.encode(told)
    except (TypeError, ValueError) as error:  # one codec has what the other has not: NaN, for one
        lost = ErrorReply(f"It was run before, and its result is not {job.codec.title}: {error}")
        return job.request.reply([asked.failed(lost) for asked in job.request.asked])
