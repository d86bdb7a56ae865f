"""What a function may know about the call that it is serving: who asked, until when, under which trace.

Pure: the clock is passed in. `current` works wherever Python's context variables reach: in the thread or
task that runs the function, and in whatever `asyncio` or `Deferred.fromCoroutine` begins from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Protocol

from rpc.message import deadline_of

TRACE = ("traceparent", "tracestate")  # W3C Trace Context, 3.2 and 3.3


class Served(Protocol):
    """The request behind a context."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return its headers."""

    def is_unwanted(self, wall: float) -> bool:
        """Tell whether nobody waits for it any more at `wall` (seconds since 1970)."""


class Context:
    """One call, as the function that serves it sees it."""

    __slots__ = ("_served", "_wall", "method", "service")

    def __init__(
        self, service: str, method: str, served: Served, wall: Callable[[], float]
    ) -> None:
        """`wall` returns seconds since 1970."""
        self.service = service
        self.method = method  # the name under which it was called
        self._served = served
        self._wall = wall

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers of the request, the caller's own among them."""
        return self._served.headers

    @property
    def call_id(self) -> str | None:
        """The call's correlation-id."""
        return self.headers.get("correlation-id")

    @property
    def user(self) -> str | None:
        """The login that sent it, as the broker stamped it (`populate_user_id`); None if it does not."""
        return self.headers.get("JMSXUserID")

    @property
    def attempt(self) -> int:
        """1 for a call that is served for the first time, 2 if it was given back once, and so on."""
        text = self.headers.get("JMSXDeliveryCount", "")
        return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else 1

    @property
    def deadline(self) -> float | None:
        """The moment after which nobody waits for the reply, in seconds since 1970; None for never."""
        return deadline_of(self.headers)

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 if it has passed; None without one."""
        deadline = self.deadline
        return None if deadline is None else max(0.0, deadline - self._wall())

    @property
    def cancelled(self) -> bool:
        """True once nobody waits any more: the caller gave the call up, or it took too long."""
        return self._served.is_unwanted(self._wall())


CURRENT: ContextVar[Context | None] = ContextVar("rpc.current", default=None)


def current() -> Context:
    """Return the call that the running function serves. Raises `LookupError` outside of any."""
    context = CURRENT.get()
    if context is None:
        raise LookupError("No remote call is being served here")
    return context


def trace_headers() -> dict[str, str]:
    """Return the headers that hand the current call's trace on; none outside of a call or without one."""
    context = CURRENT.get()
    if context is None:
        return {}
    return {name: context.headers[name] for name in TRACE if name in context.headers}
