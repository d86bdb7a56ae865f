"""A request that a worker has taken in, and the frames that answer it.

Pure. What is asked is `rpc.working.methods`' business, who runs it the face's, and in which order things are said
`rpc.working.serving`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.stomp import Frame
from broker.stomp.frame import header_lines
from rpc.codec import Codec
from rpc.link import Link
from rpc.message import MOST_CREDIT, deadline_of, reply_lines
from rpc.working.asked import ABSENT
from rpc.working.methods import Request


class Job:
    """A request on its way through a worker."""

    __slots__ = (
        "admitted",
        "attempt",
        "begun",
        "call_id",
        "cancelled",
        "changed",
        "claimed",
        "codec",
        "credit",
        "deadline",
        "endless",
        "everyone",
        "expires",
        "frame",
        "headers",
        "key",
        "link",
        "name",
        "origin",
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
        self.headers = headers
        self.link = link  # the connection it came over: no other may acknowledge it
        self.request = request
        self.name = request.name  # the function's, or empty for a batch
        self.codec = codec
        self.everyone = everyone  # it came over the topic: there is nothing to acknowledge
        call_id = self.call_id = headers.get("correlation-id")
        reply_to = headers.get("reply-to")
        #: Who asked, and as what: the same call, come again, has the same. Others may count from 1 on, too.
        self.origin = f"{reply_to}\0{call_id}" if call_id and reply_to else None
        self.expires = deadline_of(headers)  # when its caller gives up, in seconds since 1970
        self.credit: int | None = None  # items of the stream that may be sent; None: no stream
        if "stream-credit" in headers and not request.is_batch:  # of a batch they would be nobody's
            told = _number(headers["stream-credit"])
            self.credit = None if told is None else min(told, MOST_CREDIT)
        count = headers.get("JMSXDeliveryCount")
        #: How often it has been handed out, this time included.
        self.attempt = 1 if count is None else max(1, _number(count) or 1)
        self.key: str | None = None  # for the results of what is idempotent
        self.claimed = False  # no other process runs what has this key
        self.admitted = False  # its methods may run once more
        self.twins: Sequence[Job] = ()  # the same call, come again while this one is being served
        self.begun: float | None = None  # monotonic seconds; None: it has not, or is not to
        self.deadline: float | None = None  # monotonic seconds: it takes too long
        self.endless = False  # a stream that has begun: its caller waits for the next item only
        self.cancelled = False  # nobody waits for it
        self.over = False  # it is off the books
        self.seq = 0  # of the stream's next item
        self.settled = everyone  # there is nothing to acknowledge any more
        #: Called when it is cancelled or gets credit, for whoever runs it.
        self.changed: Callable[[], None] | None = None

    @property
    def wants_reply(self) -> bool:
        """It is no notification."""
        return "reply-to" in self.headers and any(
            asked.call_id is not ABSENT for asked in self.request.asked
        )

    @property
    def wanted_until(self) -> float | None:
        """When the last of those who wait for its reply waits no longer; None: somebody waits for ever."""
        latest = self.expires
        for twin in self.twins:
            expires = twin.expires
            latest = None if latest is None or expires is None else max(latest, expires)
        return latest

    def is_unwanted(self, wall: float) -> bool:
        """Tell whether nobody waits for it any more, neither its caller nor one who made the same call."""
        if not self.is_overdue(wall):
            return False
        return not self.twins or all(twin.is_overdue(wall) for twin in self.twins)

    def is_overdue(self, wall: float) -> bool:
        """Tell whether its caller waits no longer at `wall` (seconds since 1970)."""
        expires = self.expires
        return self.cancelled or (expires is not None and expires <= wall and not self.endless)

    def reply(self, version: str, body: bytes | None, more: Mapping[str, str]) -> bytes:
        """Return the SEND of a reply, if one is wanted. `more`: headers of this one reply."""
        if body is None:
            return b""
        head = reply_lines(
            self.headers,
            self.codec,
            version=version,
            plain=self.frame.plain,
            in_stream=self.credit is not None,
        )
        if not head:
            return b""
        if more:
            head += header_lines(more.items(), version)
        return b"SEND\n%bcontent-length:%d\n\n%b\0\n" % (head, len(body), body)


def _number(text: str) -> int | None:
    """Return a header's number; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
