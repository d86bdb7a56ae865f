"""How a call is made: what a caller may choose, checked once, and what follows from it for every frame.

Knows headers and codecs; no connections, and nothing of what becomes of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypedDict

from broker.stomp.frame import header_lines
from rpc.codec import Codec, codec_named
from rpc.message import MOST_CREDIT

TIMEOUT = 30.0  # seconds a call waits for its reply; a call that waits for ever is a bug that hides
#: Seconds in which the answers to a broadcast are gathered. How many there will be nobody knows, so every
#: broadcast without `first` lasts as long as this: a moment for whoever asks, and long for a worker that is there.
BROADCAST_TIMEOUT = 1.0
CREDIT = (
    100  # items of a stream under way: enough that the worker does not wait for each round trip
)
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
        "priority",
        "receipt",
        "reply-to",
        "stream-credit",
        "transaction",
    )
)


class OnLoss(Enum):
    """What becomes of a call that may have left when its connection broke. One that had not is sent again."""

    FAIL = "fail"  # it ends with `ConnectionLost`: the function may have run
    WAIT = "wait"  # the reply may come over the next connection
    RESEND = "resend"  # the call is sent once more: for functions that may run twice


class Unset:
    """No value was given."""


UNSET = Unset()


class Changes(TypedDict, total=False):
    """What `CallOptions` tells, as keyword arguments."""

    timeout: float | None
    on_loss: Literal["fail", "wait", "resend"]
    no_worker: Literal["wait", "fail"]
    headers: Mapping[str, str]
    codec: Literal["json", "msgpack"]
    priority: int | None
    credit: int


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made. Raises `ValueError` for what makes no sense.

    With `on_loss="resend"` the request names itself (`idempotency-key`), so that an idempotent method runs
    once; of a notification the broker keeps only one (`dedup-id`).
    """

    timeout: float | None = TIMEOUT  # seconds until `Timeout`; None: waits for ever
    on_loss: str = "fail"  # of its connection: "fail", "wait" for the reply, or "resend"
    no_worker: str = "wait"  # "fail": `ServiceUnavailable` at once if no worker is there
    headers: Mapping[str, str] = field(default_factory=dict)  # more of them, for the worker to read
    codec: str = "json"  # how arguments and results are written: "json" or "msgpack"
    priority: int | None = None  # 0 to 9: calls of a higher one are handed out first
    credit: int = CREDIT  # items of a stream that may be under way or wait to be taken

    # What follows, for who writes the frames.
    coder: Codec = field(init=False, repr=False, compare=False)
    policy: OnLoss = field(init=False, repr=False, compare=False)
    head: str = field(init=False, repr=False, compare=False)  # which of the heads prepared
    lines: bytes = field(init=False, repr=False, compare=False)  # the header lines that all have

    def __post_init__(self) -> None:
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"A timeout is a positive number of seconds, not {self.timeout}")
        if self.on_loss not in {each.value for each in OnLoss}:
            raise ValueError(f"on_loss is fail, wait or resend, not {self.on_loss!r}")
        if self.no_worker not in ("wait", "fail"):
            raise ValueError(f"no_worker is wait or fail, not {self.no_worker!r}")
        if self.priority is not None and self.priority not in range(10):
            raise ValueError(f"A priority is 0 to 9, not {self.priority!r}")
        if not 1 <= self.credit <= MOST_CREDIT:
            raise ValueError(f"A credit is 1 to {MOST_CREDIT} items, not {self.credit}")
        if taken := sorted(RESERVED & self.headers.keys()):
            raise ValueError(f"The header {taken[0]} is the call's own")
        lines = header_lines(self.headers.items(), VERSION) if self.headers else b""
        if self.priority is not None:
            lines += b"priority:%d\n" % self.priority
        for name, value in (
            ("coder", codec_named(self.codec)),
            ("policy", OnLoss(self.on_loss)),
            ("head", head_name(self.codec, self.no_worker)),
            ("lines", lines),
        ):
            object.__setattr__(self, name, value)


def head_name(codec: str, no_worker: str) -> str:
    """Return what the requests with this codec have in common is called."""
    return f"{codec} {no_worker}"
