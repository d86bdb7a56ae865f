"""What can go wrong with a frame on its way, and which frames it is to go wrong with.

Every frame is a `Passage` here. What becomes of one is decided by the first rule that it fits and that has
some times left. Knows frames; who carries them is `wire`'s to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.stomp import Frame
from rpc.codec import codec_for

#: What a frame is, by its place in a call's life. Whoever asks for anything else has mistyped.
WHAT = {
    "request": "a call, on its way from the caller to the broker",
    "delivery": "the same, from the broker to a worker",
    "reply": "a response, on its way from the worker to the broker",
    "answer": "the same, from the broker to the caller",
    "ack": "a worker's ACK or NACK of a call, on its way to the broker",
    "control": "rpc.cancel or rpc.credit, either way",
    "receipt": "the broker's word that it has something",
    "link": "the rest: CONNECT, SUBSCRIBE, DISCONNECT, ERROR …",
}
CONTROL = {"rpc.cancel", "rpc.credit"}
REMEMBERED = 10_000  # frames in the trace, and calls whose methods are known


@dataclass(frozen=True, slots=True)
class Passage:
    """A frame on its way."""

    at: float  # the clock's seconds
    what: str  # see `WHAT`
    party: str  # whose connection it is: "client-1", "worker-2"
    command: str
    headers: Mapping[str, str]
    body: bytes
    methods: tuple[str, ...]  # that it is about; a batch may have several
    fault: str = ""  # what became of it: "drop", "duplicate", "delay", "disconnect" or "restart"

    def __str__(self) -> str:
        """Return it in one line, for a test that failed."""
        about = ",".join(dict.fromkeys(self.methods)) or self.command
        fault = f"  ({self.fault})" if self.fault else ""
        return f"{self.at:10.3f}  {self.party:<10} {self.what:<8} {about}{fault}"


@dataclass(slots=True)
class Rule:
    """Something that is to go wrong."""

    fault: str
    what: str
    method: str | None
    when: Callable[[Passage], bool] | None
    after: int  # fitting frames that are left alone first
    times: int | None  # that it may still strike; None: always
    seconds: float = 0.0
    killed: bool = False
    struck: int = 0  # how often it did

    def cancel(self) -> None:
        """Let nothing go wrong any more."""
        self.times = 0

    def strikes(self, passage: Passage) -> bool:
        """Tell whether it does, now."""
        if self.times == 0 or passage.what != self.what:
            return False
        if self.method is not None and self.method not in passage.methods:
            return False
        if self.when is not None and not self.when(passage):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.struck += 1
        return True


@dataclass(slots=True)
class Faults:
    """What goes wrong. `WHAT` has the first arguments of all its verbs.

    Of the frames that are what is named, of calls of `method` if that is given, and for which `when` returns
    True (it is given the `Passage`), the first `after` pass; the next `times` are struck, None: all.
    """

    trace: deque[Passage] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _rules: list[Rule] = field(default_factory=list)
    _methods: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by correlation-id

    def drop(self, what: str = "request", **which: Any) -> Rule:
        """Let frames vanish, and the connection go on as if they had never been written."""
        return self._add("drop", what, **which)

    def duplicate(self, what: str = "request", **which: Any) -> Rule:
        """Let frames come twice, one behind the other, as if they had been written twice."""
        return self._add("duplicate", what, **which)

    def delay(self, what: str, seconds: float, **which: Any) -> Rule:
        """Let frames come late; what is behind them on the same connection waits with them.

        Raises `ValueError` for a time that is not positive.
        """
        if seconds <= 0:
            raise ValueError(f"A delay is a positive number of seconds, not {seconds}")
        return self._add("delay", what, seconds=seconds, **which)

    def disconnect(self, what: str = "request", **which: Any) -> Rule:
        """Let the connection break where the frame is: what was before it arrives, it does not."""
        return self._add("disconnect", what, **which)

    def restart(
        self, what: str = "request", *, down: float = 0.0, killed: bool = False, **which: Any
    ) -> Rule:
        """Let the broker restart when it should get, or has sent, the frame, which is lost. As `Broker.restart`."""
        return self._add("restart", what, seconds=down, killed=killed, **which)

    def clear(self) -> None:
        """Let nothing go wrong from here on."""
        for rule in self._rules:
            rule.cancel()
        self._rules.clear()

    def _add(
        self,
        fault: str,
        what: str,
        *,
        method: str | None = None,
        when: Callable[[Passage], bool] | None = None,
        after: int = 0,
        times: int | None = 1,
        seconds: float = 0.0,
        killed: bool = False,
    ) -> Rule:
        if what not in WHAT:
            raise ValueError(f"{what!r} is no frame's name; there are: {', '.join(WHAT)}")
        rule = Rule(fault, what, method, when, after, times, seconds, killed)
        self._rules.append(rule)
        return rule

    def judge(
        self, at: float, party: str, frame: Frame, *, of_worker: bool, to_broker: bool
    ) -> Rule | None:
        """Note a frame that passes; return what becomes of it, None if it simply arrives."""
        methods = self._about(frame)
        what = _what(frame.command, methods, of_worker=of_worker, to_broker=to_broker)
        passage = Passage(at, what, party, frame.command, frame.headers, frame.body, methods)
        self._rules = [rule for rule in self._rules if rule.times != 0]
        rule = next((rule for rule in self._rules if rule.strikes(passage)), None)
        if rule is not None:
            passage = replace(passage, fault=rule.fault)
        self.trace.append(passage)
        return rule

    def _about(self, frame: Frame) -> tuple[str, ...]:
        """Return the methods that a request asks for, or that it asked for whose reply this is."""
        call_id = frame.headers.get("correlation-id")
        if frame.command not in ("SEND", "MESSAGE"):
            return ()
        if call_id in self._methods:
            return self._methods[call_id]
        methods = _asked(frame)
        if call_id is not None and methods:
            self._methods[call_id] = methods
            if len(self._methods) > REMEMBERED:
                del self._methods[next(iter(self._methods))]
        return methods


def _asked(frame: Frame) -> tuple[str, ...]:
    try:
        told = codec_for(frame.headers.get("content-type")).decode(frame.body)
    except ValueError:
        return ()
    several = told if isinstance(told, list) else [told]
    return tuple(
        str(each["method"]) for each in several if isinstance(each, dict) and "method" in each
    )


def _what(command: str, methods: tuple[str, ...], *, of_worker: bool, to_broker: bool) -> str:
    if command in ("ACK", "NACK"):
        return "ack"
    if command == "RECEIPT":
        return "receipt"
    if command not in ("SEND", "MESSAGE"):
        return "link"
    if methods and methods[0] in CONTROL:
        return "control"
    if to_broker:
        return "reply" if of_worker else "request"
    return "delivery" if of_worker else "answer"
