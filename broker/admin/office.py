"""What becomes of a request to the broker: read, allowed or not, carried out turn by turn, answered.

1. It becomes an errand, which begins at the end of the turn; each request of a batch when the one before is done.
2. A method that changes something is answered when its change is on disk, as a RECEIPT is. So is its failure, for a
   part may be done.
3. The answer is written like any worker's (docs/rpc-protocol.md) and goes to `reply-to`. Who wants none gets none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.admin.asking import Asker, Asking
from broker.admin.errand import Errand, durable, turn
from broker.admin.faults import in_words, refused
from broker.admin.inquiries import Inquiries
from broker.admin.inspection import Inspection
from broker.admin.links import Links
from broker.admin.outside import House
from broker.admin.shelves import Shelves
from broker.admin.upkeep import Upkeep
from broker.core.message import Message
from broker.errors import NotAuthorized, Refusal
from broker.tail import END, read_headers
from broker.watch.author import COST, MOST_WAITING, Author
from rpc.codec import Codec, codec_for
from rpc.errors import ErrorReply, Forbidden, InvalidParams, InvalidRequest, Overloaded
from rpc.message import COPIED
from rpc.working.describing import describe
from rpc.working.methods import Asked, Methods, Request
from rpc.working.tally import Tallies

SERVICE = "broker"
MOST = 1024 * 1024  # bytes of a request
BEYOND = (
    16 * 1024 * 1024
)  # bytes that answers may take though memory is full: who makes room must hear of it
MOST_TOLD = 4 * 1024 * 1024  # bytes of answers to one batch, after which no more of it is done
RETRY_AFTER = 1.0  # seconds, for those who come when there is too much to do
#: Methods that change what must be on disk before anybody is told that it is done.
CHANGES = frozenset(
    (
        *("purge", "remove", "move", "copy", "retry", "delete_queue"),
        *("unschedule", "unsubscribe_durable", "close_connection"),
        *("pause_peer", "resume_peer"),
    )
)
#: Methods that everybody may call; `tracked` shows everybody his own.
OPEN = frozenset(("rpc.ping", "rpc.describe", "tracked"))
#: Methods that look at the rights themselves, where there are any: of the destination that they act on, or of each
#: that they would tell of.
BY_DESTINATION = frozenset(
    (
        *("queues", "queue", "topics", "topic", "subscriptions", "durable_subscriptions"),
        *("browse", "message", "purge", "remove", "move", "copy", "retry", "delete_queue"),
        "unsubscribe_durable",
    )
)


class Office:
    """Serves requests."""

    def __init__(self, house: House, author: Author) -> None:
        self._house = house
        self._broker = house.broker
        self._author = author
        self._asking = asking = Asking()
        self._size = 0  # bytes of the requests that are being served
        self._by_id: dict[str, Errand] = {}  # of those, by correlation-id
        self._tallies = Tallies()  # by method; "" for what was no request of one
        self._described: list[dict[str, Any]] = []  # once it was asked for
        self._methods = Methods()
        for methods in (
            Inspection(house, asking),
            Shelves(house, asking),
            Upkeep(house, asking),
            Links(house),
            Inquiries(house, asking),
        ):
            self._methods.register(methods)
        for own in (self._ping, self._describe, self._stats, self._cancel):
            self._methods.add_own(own, f"rpc.{own.__name__.removeprefix('_')}")

    def take(self, message: Message, asker: Asker, everyone: bool) -> None:
        """Serve a request that somebody has sent; `everyone`: it is meant for all workers of the service."""
        if 0 < message.expires <= self._broker.now:
            return
        headers = read_headers(message.tail)
        codec = codec_for(headers.get("content-type"))
        body = message.tail[message.tail.index(b"\n\n") + 2 : -len(END)]
        wanted = {name: headers[name] for name in (*COPIED, "reply-to") if headers.get(name)}
        if everyone:
            wanted["worker"] = self._house.presence.name
        size = len(message.tail) + COST
        if len(body) > MOST:
            self._refuse(wanted, codec, InvalidRequest(f"A request has {MOST} bytes at most"))
        elif self._size + size > MOST_WAITING:
            busy = Overloaded("Too many requests are being served", retry_after=RETRY_AFTER)
            self._refuse(wanted, codec, busy)
        else:
            self._size += size
            errand = Errand(self._broker, self._serve(wanted, codec, body, size, asker))
            if "correlation-id" in wanted:
                self._by_id[wanted["correlation-id"]] = errand

    def _refuse(self, wanted: Mapping[str, str], codec: Codec, error: ErrorReply) -> None:
        """Refuse a request unread."""
        self._count("", 0.0, error)
        self._reply(wanted, codec, codec.error_body(None, error))

    async def _serve(
        self, wanted: Mapping[str, str], codec: Codec, body: bytes, size: int, asker: Asker
    ) -> None:
        """Carry out a request. Raises what is nobody's fault but ours, after the answer."""
        failures: list[Exception] = []
        try:
            request = self._methods.read(body, codec)
            responses: list[bytes | None] = []
            left = MOST_TOLD
            for asked in request.asked:
                if left > 0:
                    response = await self._run(asked, asker, failures)
                else:
                    response = self._refuse_more(asked)
                responses.append(response)
                left -= len(response or b"")
            if any(asked.method and asked.method.name in CHANGES for asked in request.asked):
                await durable(self._broker)
            self._answer(wanted, codec, request, responses)
        finally:
            self._size -= size
            self._by_id.pop(wanted.get("correlation-id", ""), None)
        for failure in failures:
            raise failure

    def _refuse_more(self, asked: Asked) -> bytes | None:
        """Refuse what would make the answer to a batch longer still: a few bytes can ask for very many."""
        error = Overloaded("The answers to this batch are too long: ask for less at once")
        self._count("", 0.0, error)
        return asked.failed(error)

    def _answer(
        self,
        wanted: Mapping[str, str],
        codec: Codec,
        request: Request,
        responses: list[bytes | None],
    ) -> None:
        body = request.reply(responses)
        if body is not None:
            self._reply(wanted, codec, body)

    async def _run(self, asked: Asked, asker: Asker, failures: list[Exception]) -> bytes | None:
        """Carry out one request; return the response."""
        await turn()
        elapsed = self._broker.outside.elapsed
        began, result = elapsed(), None
        failure = asked.fault
        name = asked.method.name if asked.method is not None else ""
        if name and not self._may_call(name, asker):
            failure = Forbidden(f"{name} is for administrators")
        if failure is None:
            try:
                self._asking.asker = asker
                result = asked.call()
                if asked.method is not None and asked.method.is_async:
                    result = await result
            except ErrorReply as error:
                failure = error
            except NotAuthorized as error:
                failure = Forbidden(in_words(error))
            except Refusal as error:
                failure = refused(error)
            except UnicodeEncodeError:  # JSON can carry that
                failure = InvalidParams("Half of a pair of surrogates is no text")
            except Exception as error:
                failure = ErrorReply("The broker failed; its log says more")
                failures.append(error)
        self._count(name, elapsed() - began, failure)
        return asked.succeeded(result) if failure is None else asked.failed(failure)

    def _may_call(self, name: str, asker: Asker) -> bool:
        by_destination = self._house.rights.are_said and name in BY_DESTINATION
        return by_destination or name in OPEN or asker.is_administrator

    def _count(self, name: str, seconds: float, failure: ErrorReply | None) -> None:
        tally = self._tallies[name]
        tally.done(1, seconds)
        if failure is not None:
            tally.failed(failure.code)

    def _reply(self, wanted: Mapping[str, str], codec: Codec, body: bytes) -> None:
        """Send an answer to whoever wants one, if it is still in time."""
        if "reply-to" not in wanted:
            return
        headers = {"content-type": codec.content_type}
        headers |= {name: value for name, value in wanted.items() if name != "reply-to"}
        message = self._author.write(headers, body)
        expires = wanted.get("expires", "")
        if expires.isascii() and expires.isdecimal():
            message.expires = int(expires)
        if 0 < message.expires <= self._broker.now:
            return
        message.durable = wanted.get("persistent", "").strip().lower() == "true"
        self._author.send(wanted, message, BEYOND)

    # What every worker can be asked.

    def _ping(self) -> str:
        """Answer, to show that somebody is there."""
        return "pong"

    def _describe(self) -> dict[str, Any]:
        """Tell what the service offers."""
        self._described = self._described or describe(self._methods)
        return {
            "service": SERVICE,
            "worker": self._house.presence.name,
            "doc": "The broker itself: docs/administration.md",
            "methods": self._described,
        }

    def _stats(self) -> dict[str, Any]:
        """Tell what was done so far."""
        return {
            "service": SERVICE,
            "worker": self._house.presence.name,
            "started": self._house.started / 1000,
            "running": len(self._by_id),
            **self._tallies.total().as_json(),
            "methods": {name: tally.as_json() for name, tally in self._tallies.items() if name},
        }

    def _cancel(self, id: str) -> None:
        """Nobody waits for a request any more: what is done of it stays done, the rest is not begun."""
        errand = self._by_id.get(id)
        if errand is not None:
            errand.cancel()
