"""A message for whoever takes it, sent beside calls over the same connection: done when the broker has it. Pure."""

from __future__ import annotations

from rpc.calling.calls import Kind, Notification
from rpc.errors import Timeout


class Posting(Notification):
    """One that is sent; its `method` is the destination."""

    __slots__ = ()

    def overdue(self) -> Timeout:
        """Return what it ends with at its deadline."""
        return Timeout(
            f"The broker has not confirmed the message to {self.method} within {self.timeout} s; it may have it"
        )


def posting(lines: bytes) -> Kind[Posting]:
    """Return the kind of call that is a message with these header lines; its `params` is the whole body."""
    kind = Kind(Posting, "post")
    kind.lines = lines
    kind.is_request = False
    kind.is_whole = True
    return kind
