"""Asking the broker what became of a message, and waiting for its end. Pure: time and chance are passed in.

The broker answers when the message has ended, or after `LONGEST` seconds, and is asked again then: nobody asks again
and again, and nobody needs a queue of reports. A broker that is being restarted is asked when it is back.
"""

from __future__ import annotations

import math
from typing import Any

from rpc.backoff import backoff
from rpc.calling.caller import encode_params
from rpc.calling.options import CallOptions
from rpc.errors import (
    BrokerRefused,
    ConnectionLost,
    InvalidParams,
    Overloaded,
    RpcError,
    Timeout,
)
from rpc.jobs.status import NotTracked, Progress, read_progress

SERVICE = "broker"  # whose own methods they are
METHOD = "tracked"
LONGEST = 30.0  # seconds that the broker is asked to wait
GRACE = 10.0  # seconds for the answer to come


class Question:
    """One request: what is to be called, and how."""

    def __init__(self, id: str, wait: float = 0.0, timeout: float = GRACE) -> None:
        """`wait`: seconds that the broker may wait for the end; `timeout`: those that we wait for the broker."""
        self.params = encode_params((), {"id": id, "wait": wait} if wait else {"id": id})
        self.options = CallOptions(timeout=timeout, on_loss="resend")


class Patience:
    """Waits for the end of one message."""

    def __init__(self, id: str, timeout: float | None, now: float) -> None:
        """`timeout`: seconds, None for ever; `now`: monotonic seconds. Raises `ValueError`."""
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"A timeout is a number of seconds, or None, not {timeout!r}")
        self._id = id
        self._timeout = timeout
        self._until = math.inf if timeout is None else now + timeout
        self._failures = 0
        self._last: Progress | None = None

    def ask(self, now: float) -> Question:
        """Return the next request. Raises `Timeout` when the time is up, but not before it has asked once."""
        left = self._until - now
        if left <= 0 and (self._last or self._failures):
            raise self._overdue()
        wait = min(max(0.0, left), LONGEST)
        return Question(self._id, wait, min(wait, left) + GRACE)

    def take(self, told: dict[str, Any]) -> Progress | None:
        """Take an answer; return it if it is the end."""
        self._failures = 0
        self._last = read_progress(told)
        return self._last if self._last.status.is_final else None

    def rest(self, error: RpcError, now: float, chance: float) -> float:
        """Return in how many seconds to ask again after an error. Raises what cannot be helped."""
        match error:
            case BrokerRefused():
                raise error
            case Overloaded():
                pause = error.retry_after or 1.0
            case Timeout():
                pause = 0.0
            case ConnectionLost():
                pause = backoff(self._failures + 1, chance)
            case _:
                raise explained(error, self._id)
        self._failures += 1
        return max(0.0, min(pause, self._until - now))

    def _overdue(self) -> Timeout:
        far = "its broker does not answer" if self._last is None else f"it is {self._last.status}"
        return Timeout(f"The message {self._id} has not ended within {self._timeout} s: {far}")


def explained(error: RpcError, id: str) -> RpcError:
    """Return an error of the broker's as the one that callers catch."""
    if isinstance(error, InvalidParams) and error.data == {"argument": "id"}:
        return NotTracked(f"Nothing is known of a message {id} that was sent with feedback")
    return error


def unasked(id: str) -> NotTracked:
    """Return the error for a message of which nobody keeps the status."""
    return NotTracked(f"The message {id} was sent with feedback=False: its status is not kept")
