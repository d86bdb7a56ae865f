"""What became of a message, as the sender's broker tells it. Read from JSON; knows no connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rpc.errors import RpcError


class Status(StrEnum):
    """How far a message has come. The last three are ends; each is also its own name as a text."""

    QUEUED = "QUEUED"  # it waits in a queue, at the sender's broker
    SENT = "SENT"  # a consumer has it, or the next broker
    PROCESSED = "PROCESSED"  # a consumer has said so
    FAILED = "FAILED"  # refused, redelivered too often, or removed
    EXPIRED = "EXPIRED"  # nobody has processed it in time

    @property
    def is_final(self) -> bool:
        """True when nothing more becomes of it by itself; an administrator may try a dead letter again."""
        return self in (Status.PROCESSED, Status.FAILED, Status.EXPIRED)


@dataclass(frozen=True, slots=True)
class Part:
    """What became of the copy for one destination."""

    destination: str
    status: Status
    changed: float  # when, in seconds since 1970
    by: str | None  # who processed or refused it: client-id, login or session
    cause: str | None  # why it failed


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message had come when the broker was asked."""

    id: str
    status: Status  # PROCESSED when all parts are, else no better than the worst
    sent: float  # when, in seconds since 1970
    changed: float  # when the last part changed
    parts: tuple[Part, ...]  # one for each destination

    @property
    def pending(self) -> tuple[str, ...]:
        """The destinations that have not processed it."""
        return tuple(each.destination for each in self.parts if each.status != Status.PROCESSED)

    @property
    def cause(self) -> str | None:
        """Why it failed: the first cause that is known."""
        return next((each.cause for each in self.parts if each.cause), None)


class NotTracked(RpcError, LookupError):
    """Nothing is known of a message.

    It was sent without feedback, by another login, to another broker, or never; or it has ended so long
    ago that the broker has forgotten it (`track_for`).
    """


def read_progress(told: dict[str, Any]) -> Progress:
    """Return what the broker's method `tracked` has told."""
    return Progress(
        told["id"],
        Status(told["status"]),
        told["sent"] / 1000,
        told["changed"] / 1000,
        tuple(
            Part(
                each["destination"],
                Status(each["status"]),
                each["changed"] / 1000,
                each["by"],
                each["cause"],
            )
            for each in told["parts"]
        ),
    )
