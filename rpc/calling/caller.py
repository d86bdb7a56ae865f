"""A client's calls without a socket: which bytes a call is, what frames make of it, what a loss means.

All faces share it: they move the bytes, pass the time in, and wake whoever waits. Not locked, like `Calls`.
A connection's life, as the face drives it::

    write(caller.greeting(link))                # subscribe to the replies
    for call in caller.calls.to_send(): call.place = write(call.data)  # what outlived the last connection
    call = caller.open("whee", encode_params(("Hello",), {}), options, monotonic(), time(), CALL)
    call.place = write(call.data)
    for call in caller.take(link.receive(data, now)): wake(call)
    for call in caller.calls.interrupt(reason, has_left): wake(call)
    write(caller.give_up(call))                 # nobody waits for it any more

What sort of call it is (`CALL`, a batch, a broadcast, a stream) matters here and in the `Call` itself only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from broker.stomp import Frame
from broker.stomp.frame import header_lines
from broker.stomp.template import Template
from rpc.calling.batch import Batch
from rpc.calling.broadcast import Broadcast
from rpc.calling.calls import C, Call, Calls, Kind, Notification
from rpc.calling.items import Items
from rpc.calling.options import VERSION, CallOptions, OnLoss, head_name
from rpc.codec import CODECS, JSON, Codec
from rpc.context import CURRENT, TRACE, trace_headers
from rpc.errors import BrokerRefused, RpcError, ServiceUnavailable
from rpc.link import Link, refusal
from rpc.message import reply_queue, request_headers, request_queue, service_topic

IDEMPOTENCY_KEY = "idempotency-key"
RESEND = OnLoss.RESEND  # to look at an enum's member takes long
CALL = Kind(Call, "queue")
NOTIFICATION = Kind(Notification, "notification")


def batch_of(count: int) -> Kind[Batch]:
    """Return the kind of call that is a batch of so many; its `params` is the whole body."""
    kind = Kind(partial(Batch, count=count), "queue")
    kind.is_whole = True
    return kind


def broadcast(first: int | None, timeout: float | None) -> Kind[Broadcast]:
    """Return the kind of call that every worker answers: the first so many, or all there are (None).

    Raises `ValueError` for what makes no sense.
    """
    if first is not None and first < 1:
        raise ValueError(f"The first answers are a positive number, not {first}")
    if first is None and timeout is None:
        raise ValueError(
            "Nobody knows when all have answered: give a timeout, or how many to wait for"
        )
    return Kind(partial(Broadcast, first=first), "topic")


def stream(options: CallOptions) -> Kind[Items]:
    """Return the kind of call whose result comes item by item."""
    kind = Kind(partial(Items, credit=options.credit), "queue")
    kind.lines = b"stream-credit:%d\n" % options.credit
    return kind


@dataclass(frozen=True, slots=True)
class ClientStats:
    """A client's counters at one moment."""

    calls: int  # calls ever begun
    pending: int  # calls waiting for a reply
    late: int  # replies and items that came when nobody waited for them any more
    connections: int  # connections made


class Caller:
    """The calls of one client to one service, over any number of connections, one after the other."""

    def __init__(self, service: str, unique: str, *, durable: bool) -> None:
        """`unique` is nobody else's; `durable`: requests and replies are kept on the broker's disk.

        Raises `ValueError` for a service's name that makes no sense.
        """
        self.calls = Calls(unique[:8])
        self.service = service
        self.replies = reply_queue(unique)  # where they come
        queue, topic = request_queue(service), service_topic(service)
        #: What the requests of each kind begin with, up to their id, by the options that matter to it.
        self._heads = {
            kind: {
                head_name(codec.name, no_worker): _head(
                    request_headers(
                        destination,
                        reply_to,
                        durable=keeps,
                        mandatory=no_worker == "fail" and reply_to is not None,
                        codec=codec,
                    )
                )
                + (b"receipt:" if reply_to is None else b"correlation-id:")
                for codec in CODECS.values()
                for no_worker in ("wait", "fail")
            }
            for kind, destination, reply_to, keeps in (
                ("queue", queue, self.replies, durable),
                ("notification", queue, None, durable),
                ("topic", topic, self.replies, False),
            )
        }
        self._heads["post"] = dict.fromkeys(self._heads["queue"], b"SEND\nreceipt:")
        self._template: Template | None = None  # of replies that are results, by one call each
        self._hole = 0  # which of its values says whose
        self._control_head = _head(request_headers(topic, None, durable=False))

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first; the calls it brings are in `calls.to_send`."""
        return link.subscribe(self.replies, "replies", "auto")

    def open(
        self,
        method: str,
        params: bytes,
        options: CallOptions,
        now: float,
        wall: float,
        kind: Kind[C],
    ) -> C:
        """Begin a call; `call.data` is to be written. `now` is monotonic, `wall` since 1970, in seconds.

        `params` is what `encode_params` returned. Raises `ValueError` for a name that cannot be sent.
        """
        timeout, codec, more = options.timeout, options.coder, options.lines + kind.lines
        name = _name(codec, method)  # before there is a call
        call = self.calls.open(
            None if timeout is None else now + timeout,
            method,
            timeout,
            options.policy,
            codec,
            kind.make,
        )
        call_id = call.call_id.encode()
        if timeout is not None and kind.is_request:
            more += b"expires:%d\n" % int((wall + timeout) * 1000)
        if call.on_loss is RESEND and kind.is_request:
            # With any other the broker would keep the second reply from us, too.
            if kind is NOTIFICATION:
                more += b"dedup-id:%b\n" % call_id
            if IDEMPOTENCY_KEY not in options.headers:
                more += b"%b:%b\n" % (IDEMPOTENCY_KEY.encode(), call_id)
        if CURRENT.get() is not None:
            more += _trace(options)
        if kind.is_whole:
            body = params
        elif kind is NOTIFICATION:
            body = codec.notification_body(name, params)
        else:
            body = codec.call_body(call_id, name, params)
        call.data = b"%b%b\n%bcontent-length:%d\n\n%b\0\n" % (
            self._heads[kind.head][options.head],
            call_id,
            more,
            len(body),
            body,
        )
        return call

    def give_up(self, call: Call) -> bytes:
        """End a call that nobody waits for any more; return what tells its worker, if it may have one."""
        waited = self.calls.forget(call)
        if not ((waited and call.is_run) or call.runs_on):
            return b""
        call.runs_on = False
        return self._control(b"rpc.cancel", {"id": call.call_id})

    def renew(self, items: Items) -> bytes:
        """Return what gives a stream's worker more credit, if it is time for that."""
        credit = items.renewal()
        if not credit:
            return b""
        return self._control(b"rpc.credit", {"id": items.call_id, "credit": credit})

    def _control(self, method: bytes, params: Mapping[str, Any]) -> bytes:
        """Return a word to all workers."""
        body = JSON.notification_body(b'"%b"' % method, JSON.encode(params))
        return b"%bcontent-length:%d\n\n%b\0\n" % (self._control_head, len(body), body)

    def take(self, frames: list[Frame]) -> list[Call]:
        """Give replies, RECEIPTs and ERRORs to their calls; return those that are done now."""
        done = []
        for frame in frames:
            if frame.command == "MESSAGE":
                template = frame.template
                if template is not None and template is self._template:
                    call_id, error = frame.values[self._hole].decode(), None
                else:
                    call_id, error = self._read(frame)
                call = self.calls.answer(call_id, frame.body, error, frame)
            elif frame.command == "RECEIPT":
                call = self.calls.answer(_receipt(frame), b"")
            elif self.calls.waits(_receipt(frame)):  # an ERROR
                call = self.calls.answer(_receipt(frame), b"", refusal(frame))
            else:
                continue
            if call is not None:
                done.append(call)
        return done

    def refused(self, frames: list[Frame]) -> BrokerRefused | None:
        """Return what ends every call, if an ERROR is among frames that does not say which it is about.

        To be asked before they are taken.
        """
        for frame in frames:
            if frame.command == "ERROR" and not self.calls.waits(_receipt(frame)):
                return refusal(frame)
        return None

    def _read(self, reply: Frame) -> tuple[str, RpcError | None]:
        """Return what a MESSAGE says: whose it is, and how the call failed if the broker gave it back."""
        headers, template = reply.headers, reply.template
        if "returned" in headers:
            return headers.get("correlation-id", ""), self._unavailable()
        if template is not None and "correlation-id" in template.holes:
            # Those with the same headers need not be asked for any but this one.
            self._template, self._hole = template, template.holes.index("correlation-id")
        return headers.get("correlation-id", ""), None

    def stats(self, connections: int) -> ClientStats:
        """Return the counters as they are now."""
        calls = self.calls
        return ClientStats(calls.opened, len(calls), calls.late, connections)

    def _unavailable(self) -> RpcError:
        return ServiceUnavailable(
            f"No worker serves {self.service!r}: start one, or let the call wait (no_worker='wait')"
        )


def _receipt(frame: Frame) -> str:
    """Return what a RECEIPT or an ERROR answers."""
    return frame.headers.get("receipt-id", "")


def _head(headers: Mapping[str, str]) -> bytes:
    return b"SEND\n" + header_lines(headers.items(), VERSION)


def encode_params(args: tuple[Any, ...], kwargs: Mapping[str, Any], codec: Codec = JSON) -> bytes:
    """Return a call's arguments as they travel. Raises `TypeError` or `ValueError` for what cannot."""
    if args and kwargs:
        raise TypeError("JSON-RPC takes arguments by position or by name, not both in one call")
    return codec.encode(kwargs or args)


@lru_cache(maxsize=256)
def _name(codec: Codec, method: str) -> bytes:
    return codec.encode(method)


def _trace(options: CallOptions) -> bytes:
    """Return the header lines that hand the current call's trace on, unless the caller has one of its own."""
    if not options.headers.keys().isdisjoint(TRACE):
        return b""
    return header_lines(trace_headers().items(), VERSION)
