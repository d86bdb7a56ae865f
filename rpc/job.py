"""A request that a worker has taken in, and the frames that answer it.

Pure. What is asked is `rpc.methods`' business, who runs it the face's, and in which order things are said
`rpc.serving`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.stomp import Frame
from broker.stomp.frame import header_lines
from rpc.codec import Codec
from rpc.context import Context, deadline_of
from rpc.link import Link
from rpc.message import has_expired
from rpc.methods import Asked, Request

#: Headers of a request that its replies repeat.
COPIED = ("correlation-id", "expires", "persistent")
#: What a stream's items repeat: its `expires` is the moment by which it must begin.
COPIED_IN_STREAM = ("correlation-id", "persistent")


class Job:
    """A request on its way through a worker."""

    __slots__ = (
        "call_id",
        "cancelled",
        "changed",
        "codec",
        "credit",
        "deadline",
        "endless",
        "everyone",
        "frame",
        "key",
        "link",
        "over",
        "request",
        "seq",
        "settled",
        "twins",
    )

    def __init__(
        self, frame: Frame, link: Link, request: Request, codec: Codec, *, everyone: bool
    ) -> None:
        headers = frame.headers
        self.frame = frame
        self.link = link  # the connection it came over: no other may acknowledge it
        self.request = request
        self.codec = codec
        self.everyone = everyone  # it came over the topic: there is nothing to acknowledge
        self.call_id = headers.get("correlation-id")
        self.credit = _number(
            headers.get("stream-credit")
        )  # items that may be sent; None: no stream
        self.key: str | None = None  # for the results of what is idempotent
        self.twins: Sequence[Job] = ()  # the same call, come again while this one is being served
        self.deadline: float | None = None  # monotonic seconds: it takes too long
        self.endless = False  # a stream that has begun: its caller waits for the next item only
        self.cancelled = False  # nobody waits for it
        self.over = False  # it is off the books
        self.seq = 0  # of the stream's next item
        self.settled = everyone  # there is nothing to acknowledge any more
        #: Called when it is cancelled or gets credit, for whoever runs it.
        self.changed: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """The function's name, or empty for a batch."""
        return self.request.name

    @property
    def is_first_acknowledged(self) -> bool:
        """It is not to be run twice, or its replies are not to come twice."""
        once = self.request.options.delivery == "at-most-once"
        return (once or self.credit is not None) and not self.settled

    @property
    def attempt(self) -> int:
        """How often it has been handed out, this time included."""
        return max(1, _number(self.frame.headers.get("JMSXDeliveryCount")) or 1)

    @property
    def expires(self) -> float | None:
        """The caller's deadline in seconds since 1970; None for never."""
        return deadline_of(self.frame.headers)

    def is_overdue(self, wall: float) -> bool:
        """Tell whether nobody waits for it any more at `wall` (seconds since 1970)."""
        return self.cancelled or (not self.endless and has_expired(self.frame.headers, wall))

    def context(self, service: str, asked: Asked, wall: Callable[[], float]) -> Context:
        """Return what the function may know."""
        return Context(
            service,
            asked.found().name,
            lambda: self.frame.headers,
            lambda: self.is_overdue(wall()),
            wall,
        )

    def reply(self, version: str, body: bytes | None, more: Mapping[str, str]) -> bytes:
        """Return the SEND of a reply, if one is wanted. `more`: headers of this one reply."""
        headers = self.frame.headers
        reply_to = headers.get("reply-to")
        if body is None or not reply_to:
            return b""
        lines = {"destination": reply_to, "content-type": self.codec.content_type}
        for name in COPIED if self.credit is None else COPIED_IN_STREAM:
            if name in headers:
                lines[name] = headers[name]
        lines |= more
        head = header_lines(lines.items(), version, self.frame.plain)
        return b"SEND\n%bcontent-length:%d\n\n%b\0\n" % (head, len(body), body)


def _number(text: str | None) -> int | None:
    """Return a header's number; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
