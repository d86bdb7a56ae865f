"""A call and its reply as they travel: where they go, and the few STOMP headers around the body (`codec`).

What is on the wire, so that any STOMP client can take either side::

    SEND                                            SEND
    destination:/queue/rpc.demo                     destination:/queue/rpc.reply.9f3a…
    content-type:application/json                   content-type:application/json
    reply-to:/queue/rpc.reply.9f3a…                 correlation-id:9f3a-1
    correlation-id:9f3a-1                           expires:1767225600000
    expires:1767225600000                           persistent:true
    persistent:true

    {"jsonrpc":"2.0","method":"whee",               {"jsonrpc":"2.0","result":{"Whee":123},
     "params":["Hello"],"id":"9f3a-1"}               "id":"9f3a-1"}

- `correlation-id` equals the body's `id`: replies are matched to calls without reading the body;
- `expires` is the caller's deadline in milliseconds since 1970; the broker hands neither an expired
  request to a worker nor an expired reply to anyone. Absent: the caller waits for ever;
- `persistent` is always written, because brokers differ in what its absence means; a reply is kept
  as safely as its request asked for, and lives no longer;
- no `reply-to`, or no `id`, means that nobody wants an answer;
- `mandatory:true` (hoofbeat): with no worker there the broker sends the request itself to its `reply-to`,
  with `returned:no-consumer`;
- `dedup-id` (hoofbeat): a notification that is sent again because its connection broke is kept once.

The whole of it is in docs/rpc-protocol.md. Pure: text, no sockets, threads or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from broker.stomp.frame import ESCAPES, header_lines
from rpc.codec import JSON, Codec

#: Requests in one body: while they are read, and answered, the worker sends no heart-beat.
MOST_IN_BATCH = 10_000

#: Headers of a request that its replies repeat, as `reply_lines` writes them; items of a stream all but `expires`.
COPIED = ("correlation-id", "expires", "persistent")
CALLERS = 128  # whose replies' headers are remembered, as far as they are the same for all

#: Items of a stream that may be under way: they are nowhere but in buffers.
MOST_CREDIT = 10_000

#: A service's name becomes part of a queue's name; these need no escape in any version of STOMP.
SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def request_queue(service: str) -> str:
    """Return the queue on which a service takes its calls.

    Raises `ValueError` unless the name is made of letters, digits, `_`, `.` and `-`.
    """
    return f"/queue/rpc.{_checked(service)}"


def service_topic(service: str) -> str:
    """Return the topic on which every worker of a service hears what is meant for all of them.

    Raises `ValueError` as `request_queue` does.
    """
    return f"/topic/rpc.{_checked(service)}"


def _checked(service: str) -> str:
    if not SERVICE.fullmatch(service):
        raise ValueError(
            f"A service's name is made of letters, digits, '_', '.' and '-', not {service!r}"
        )
    return service


def reply_queue(unique: str) -> str:
    """Return the queue on which the one client called `unique` takes its replies."""
    return f"/queue/rpc.reply.{unique}"


def request_headers(
    destination: str,
    reply_to: str | None,
    *,
    durable: bool,
    mandatory: bool = False,
    codec: Codec = JSON,
) -> dict[str, str]:
    """Return the headers that all requests of a kind have in common; without `reply_to`: notifications."""
    headers = {"destination": destination, "content-type": codec.content_type}
    if reply_to is not None:
        headers["reply-to"] = reply_to
    if mandatory:
        headers["mandatory"] = "true"
    return headers | {"persistent": "true" if durable else "false"}


def reply_lines(
    request: Mapping[str, str],
    codec: Codec = JSON,
    *,
    version: str = "1.2",
    plain: bool = False,
    in_stream: bool = False,
) -> bytes:
    """Return the header lines of the reply to a request with these headers; none if no reply is wanted.

    `codec` is the one that the reply is written in; `plain`: nothing in the request needs an escape. Items of
    a stream do not repeat `expires`: it is the moment by which the stream must begin.
    """
    get = request.get
    reply_to, call_id = get("reply-to"), get("correlation-id")
    if not reply_to:
        return b""
    expires = None if in_stream else get("expires")
    if not plain:
        escapes = ESCAPES[version]
        call_id = call_id and call_id.translate(escapes)
        expires = expires and expires.translate(escapes)
    own = "" if call_id is None else f"correlation-id:{call_id}\n"
    if expires is not None:
        own = f"{own}expires:{expires}\n"
    first, last = _same_lines(reply_to, codec.content_type, get("persistent"), version, plain)
    return b"%b%b%b" % (first, own.encode(), last)


@lru_cache(CALLERS)
def _same_lines(
    reply_to: str, content_type: str, persistent: str | None, version: str, plain: bool
) -> tuple[bytes, bytes]:
    """Return the first and the last lines that the replies to all calls of one caller have in common."""
    first = [("destination", reply_to), ("content-type", content_type)]
    last = [] if persistent is None else [("persistent", persistent)]
    return header_lines(first, version, plain), header_lines(last, version, plain)


def deadline_of(request: Mapping[str, str]) -> float | None:
    """Return the moment that `expires` tells, in seconds since 1970; None for never, and for what is no date."""
    expires = request.get("expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 18):
        return None
    return int(expires) / 1000 or None
