"""A client's calls without a socket: which bytes a call is, what frames make of it, what a loss means.

All faces share it: they move the bytes, pass the time in, and wake whoever waits. Not locked, like `Calls`.
A connection's life, as the face drives it::

    write(caller.greeting(link))                # subscribe to the replies
    for call in caller.calls.to_send(): call.place = write(call.data)  # what outlived the last connection
    call = caller.open("whee", encode_params(("Hello",), {}), options, monotonic(), time())
    call.place = write(call.data)
    for call in caller.take(link.receive(data, now)): wake(call)
    for call in caller.calls.interrupt(reason, has_left): wake(call)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.stomp import Frame
from broker.stomp.frame import header_lines
from rpc.calls import Call, Calls, OnLoss
from rpc.codec import JSON
from rpc.errors import RpcError, ServiceUnavailable
from rpc.link import Link
from rpc.message import reply_queue, request_headers, request_queue

TIMEOUT = 30.0  # seconds a call waits for its reply; a call that waits for ever is a bug that hides
CONFIRMED = b'{"jsonrpc":"2.0","result":null}'  # what a RECEIPT amounts to
VERSION = "1.2"  # whose escapes headers of the caller's own are written in
#: Headers that are ours to write.
RESERVED = frozenset(
    (
        "destination",
        "content-type",
        "content-length",
        "correlation-id",
        "dedup-id",
        "expires",
        "mandatory",
        "persistent",
        "receipt",
        "reply-to",
        "transaction",
    )
)


class Unset:
    """No value was given."""


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class ClientStats:
    """A client's counters at one moment."""

    calls: int  # calls ever begun
    pending: int  # calls waiting for a reply
    late: int  # replies that came when nobody waited for them any more
    connections: int  # connections made


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made. Raises `ValueError` for what makes no sense."""

    timeout: float | None = TIMEOUT  # seconds until `Timeout`; None: waits for ever
    on_loss: str = "fail"  # of its connection: "fail", "wait" for the reply, or "resend"
    no_worker: str = "wait"  # "fail": `ServiceUnavailable` at once if no worker is there
    headers: Mapping[str, str] = field(default_factory=dict)  # more of them, for the worker to read

    def __post_init__(self) -> None:
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"A timeout is a positive number of seconds, not {self.timeout}")
        if self.on_loss not in {each.value for each in OnLoss}:
            raise ValueError(f"on_loss is fail, wait or resend, not {self.on_loss!r}")
        if self.no_worker not in ("wait", "fail"):
            raise ValueError(f"no_worker is wait or fail, not {self.no_worker!r}")
        if taken := sorted(RESERVED & self.headers.keys()):
            raise ValueError(f"The header {taken[0]} is the call's own")

    def within(self, timeout: float | Unset | None) -> CallOptions:
        """Return the same with another timeout, if one was given."""
        return self if isinstance(timeout, Unset) else replace(self, timeout=timeout)


class Caller:
    """The calls of one client to one service, over any number of connections, one after the other."""

    def __init__(self, service: str, unique: str, *, durable: bool) -> None:
        """`unique` is nobody else's; `durable`: requests and replies are kept on the broker's disk.

        Raises `ValueError` for a service's name that makes no sense.
        """
        self.calls = Calls(unique[:8])
        self.service = service
        self._replies = reply_queue(unique)
        queue = request_queue(service)
        self._heads = {
            no_worker: _head(
                request_headers(
                    queue, self._replies, durable=durable, mandatory=no_worker == "fail"
                )
            )
            for no_worker in ("wait", "fail")
        }
        self._notification_head = _head(request_headers(queue, None, durable=durable))

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first; the calls it brings are in `calls.to_send`."""
        return link.subscribe(self._replies, "replies", "auto")

    def open(
        self,
        method: str,
        params: bytes,
        options: CallOptions,
        now: float,
        wall: float,
        *,
        notifies: bool = False,
    ) -> Call:
        """Begin a call; `call.data` is to be written. `now` is monotonic, `wall` since 1970, in seconds.

        `params` is what `encode_params` returned. One that `notifies` gets no reply: it is done when the
        broker has confirmed it. Raises `ValueError` for a name that cannot be sent.
        """
        timeout, on_loss = options.timeout, OnLoss(options.on_loss)
        deadline = None if timeout is None else now + timeout
        name = JSON.encode(method)  # before there is a call
        call = self.calls.open(deadline, method, timeout, on_loss)
        call_id, more = call.call_id.encode(), _lines(options)
        if on_loss is OnLoss.RESEND:
            more += b"dedup-id:%b\n" % call_id
        if timeout is not None:
            more += b"expires:%d\n" % int((wall + timeout) * 1000)
        if notifies:
            head, id_name, body = (
                self._notification_head,
                b"receipt",
                JSON.notification_body(name, params),
            )
        else:
            head, id_name = self._heads[options.no_worker], b"correlation-id"
            body = JSON.call_body(call_id, name, params)
        call.data = b"%b%b:%b\n%bcontent-length:%d\n\n%b\0\n" % (
            head,
            id_name,
            call_id,
            more,
            len(body),
            body,
        )
        return call

    def take(self, frames: list[Frame]) -> list[Call]:
        """Give replies to their calls, and RECEIPTs to theirs; return those that are done now."""
        done = []
        for frame in frames:
            if frame.command == "MESSAGE":
                headers, error = frame.headers, None
                if "returned" in headers:
                    error = self._unavailable()
                call = self.calls.answer(headers.get("correlation-id", ""), frame.body, error)
            elif frame.command == "RECEIPT":
                call = self.calls.answer(frame.headers.get("receipt-id", ""), CONFIRMED)
            else:
                continue
            if call is not None:
                done.append(call)
        return done

    def stats(self, connections: int) -> ClientStats:
        """Return the counters as they are now."""
        calls = self.calls
        return ClientStats(calls.opened, len(calls), calls.late, connections)

    def _unavailable(self) -> RpcError:
        return ServiceUnavailable(
            f"No worker serves {self.service!r}: start one, or let the call wait (no_worker='wait')"
        )


def _head(headers: Mapping[str, str]) -> bytes:
    return b"SEND\n" + header_lines(headers.items(), VERSION)


def encode_params(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """Return a call's arguments as they travel. Raises `TypeError` or `ValueError` for what cannot."""
    if args and kwargs:
        raise TypeError("JSON-RPC takes arguments by position or by name, not both in one call")
    return JSON.encode(kwargs or args)


def _lines(options: CallOptions) -> bytes:
    return header_lines(options.headers.items(), VERSION) if options.headers else b""
