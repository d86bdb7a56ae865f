r"""How an event of `twisted.logger` becomes a line, as text or as JSON.

This is the one place where the following is seen to, so that nobody who logs need think of it:

1. Clients choose logins, names of destinations, headers. Whatever cannot be seen (control characters, line ends, escape
   sequences of terminals, marks that turn the direction of writing) is written as `\x1b`, `\n`, `\u202e`.
2. Clients choose how long these are. A value is cut, and so is a line.
3. A traceback tells where and of which kind an error was. Its text is left out where it repeats what could not be
   understood, as `ValueError` and `KeyError` do: that may be a passcode or a body.
4. Of an event's values JSON shows those of `FIELDS` and no others.

Twisted's own JSON (`eventAsJSON`) is made to be read back into Twisted: it has every value of an event, whatever it is,
the time as a number and the text not at all.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

FIELDS = (
    *("connection", "address", "login", "certificate", "destination"),  # of a client
    *("virtual_host", "peer", "signal", "settings", "error", "count"),
)
LONGEST_VALUE, LONGEST = 500, 2000  # characters
UNKNOWN = "an event that cannot be told"
#: What Twisted says instead of a text when it cannot make one, with all values of the event behind it.
FAILED = ("Unable to format event", "MESSAGE LOST")
#: Kinds of errors whose text repeats what somebody has sent.
REPEATING = (ValueError, LookupError, AssertionError)


def escaped(text: str) -> str:
    """Return text in which everything can be seen, and nothing else happens."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def text_line(event: LogEvent) -> str:
    """Return an event as a line, with the lines of a traceback below it, which are indented."""
    level = getattr(event.get("log_level"), "name", "-")
    namespace = event.get("log_namespace", "-")
    head = f"{time_of(event)} [{namespace}#{level}] {text_of(event)}\n"
    return head + "".join(f"    {line}\n" for line in traceback_of(event))


def json_line(event: LogEvent) -> str:
    """Return an event as one JSON object in a line of ASCII."""
    told: dict[str, Any] = {
        "time": time_of(event),
        "level": getattr(event.get("log_level"), "name", "-"),
        "namespace": event.get("log_namespace", "-"),
        "message": text_of(event),
    }
    told |= {name: _shown(event[name]) for name in FIELDS if event.get(name) not in (None, "")}
    if lines := traceback_of(event):
        told["traceback"] = "\n".join(lines)
    return json.dumps(told) + "\n"


def time_of(event: LogEvent) -> str:
    """Return when it happened: ISO 8601 with milliseconds and the zone of this machine."""
    when = datetime.fromtimestamp(event["log_time"]).astimezone()
    return when.isoformat(timespec="milliseconds")


def text_of(event: LogEvent) -> str:
    """Return what an event says, in one line."""
    if _failure_of(event) is not None and "log_text" in event:  # Twisted's older log: a traceback
        return escaped(str(event.get("why") or "an error that nobody has seen to")[:LONGEST])
    values = {name: _shown(each) if isinstance(each, str) else each for name, each in event.items()}
    text = formatEvent(values) or UNKNOWN
    if text.startswith(FAILED):
        text = f"{UNKNOWN}: {event.get('log_format')}"
    return escaped(text[:LONGEST])


def traceback_of(event: LogEvent) -> list[str]:
    """Return the lines of an event's traceback, in the order of Python's; none if nothing has failed."""
    failure = _failure_of(event)
    if failure is None or failure.value is None:
        return []
    lines: list[str] = []
    for error in reversed([*_chain(failure.value)]):
        is_last = error is failure.value
        frames = error.__traceback__
        if is_last:
            frames = failure.getTracebackObject()  # type: ignore[no-untyped-call]
        lines += "".join(traceback.format_tb(frames)).splitlines()
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        text = "" if isinstance(error, REPEATING) else str(error)[:LONGEST_VALUE]
        lines.append(f"{kind}: {text}" if text else kind)
    return [escaped(line) for line in lines]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it came from, and so on."""
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        yield step
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)


def _failure_of(event: LogEvent) -> Failure | None:
    failure = event.get("log_failure", event.get("failure"))
    return failure if isinstance(failure, Failure) else None


def _shown(value: object) -> object:
    """Return a value for a line or a field."""
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return escaped(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")
