"""The log: which events become lines, and where they go. An observer of `twisted.logger`.

Of one kind of line (the same words, whatever the values in them) `MOST` are written in `WHILE` seconds; how many more there
were is told in one line. So nobody who makes the broker say something can fill a disk. What is said at the level
debug is all written: somebody wants to see it.

Twisted's own words are written from `warn` on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, Any

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger
from zope.interface import implementer

from broker.logs.lines import json_line, text_line
from broker.options import Options

MOST, WHILE = 50, 10.0  # lines of one kind, in so many seconds

LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}
FORMATS = {"text": text_line, "json": json_line}
OURS = ("broker", "rpc")


@implementer(ILogObserver)
class Log:
    """Writes events into a file."""

    def __init__(
        self,
        file: IO[Any],
        options: Options,
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`later` calls a function after so many seconds."""
        self._file = file
        self._later = later
        self._told: dict[tuple[str, str], int] = {}  # lines of each kind, since the while began
        self._own = Logger("broker.logs", observer=self)
        self.change(options.log_level, options.log_format)

    def change(self, level: str, format: str) -> None:
        """Write other events, or otherwise, from now on."""
        self._least = LEVELS[level]
        self._write = FileLogObserver(self._file, FORMATS[format])

    def prepare(self, options: Options) -> Callable[[], None]:
        """Return what makes other settings hold: `broker.reload`."""
        return partial(self.change, options.log_level, options.log_format)

    def __call__(self, event: LogEvent) -> None:
        """Twisted: something has happened."""
        namespace = str(event.get("log_namespace", ""))
        level = LEVELS[getattr(event.get("log_level"), "name", "info")]
        is_ours = namespace.partition(".")[0] in OURS
        if level < self._least or (not is_ours and level < LEVELS["warn"]):
            return
        if level > LEVELS["debug"]:
            if not self._told:
                self._later(WHILE, self._begin_anew)
            kind = (namespace, str(event.get("log_format")))
            self._told[kind] = told = self._told.get(kind, 0) + 1
            if told > MOST:
                return
        self._write(event)

    def _begin_anew(self) -> None:
        """Tell what was not told, and count from nothing."""
        told, self._told = self._told, {}
        for (namespace, kind), number in told.items():
            if number > MOST:
                self._own.warn(
                    "{count} more lines like this were not written: {namespace}: {kind}",
                    count=number - MOST,
                    namespace=namespace,
                    kind=kind,
                )


def begin_logging(log: Log) -> None:
    """Let a log have all events from now on, and those that nobody has written yet."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
