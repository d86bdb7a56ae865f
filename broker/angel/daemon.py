"""How a command becomes a daemon: Twisted's twistd, with an angel as its only service.

twistd forks twice, leaves the terminal, takes the signals, logs, and runs the reactor. Its pid file is not used:
it would trust a number (`broker.angel.instance`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import IO, Any, NoReturn, cast

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.logfile import LogFile
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]  # documented

from broker.angel.instance import PidFile, Record
from broker.angel.monitor import Angel
from broker.logs.observer import Log
from broker.net.wall import steady_timers
from broker.options import Options, OptionsError

log = Logger()


class Plugin:
    """What twistd asks for its service."""

    tapname = "hoofbeat"

    def __init__(self, make: Callable[[], IService]) -> None:
        """`make` returns the service."""
        self._make = make

    def makeService(self, options: object) -> IService:
        """Twisted: return the service."""
        return self._make()


def become_angel(
    flags: Sequence[str],
    options: Options,
    read: Callable[[], Options],
    record: Record,
    pid_file: PidFile,
    log_file: LogFile,
    ear: int,
) -> NoReturn:
    """Leave the terminal and be the angel, to the end of the process. For a fork of the command.

    `read` returns the options anew. `ear` is a pipe on which whoever has started us hears the outcome: an exit status and a line, as JSON.
    """
    own_log = Log(cast("IO[bytes]", log_file), options, call_later)

    def follow() -> None:
        """Write our own lines as the broker's are written now; it has said what is wrong with the file."""
        with contextlib.suppress(OptionsError):
            own_log.prepare(read())()

    def make_angel() -> IService:
        from twisted.internet import reactor

        steady_timers(reactor)
        return Angel(
            reactor,
            flags,
            options.immediate_deaths,
            record,
            pid_file,
            log_file,
            teller(ear),
            follow,
        )

    config: Any = ServerOptions()  # type: ignore[no-untyped-call]
    config.parseOptions(["--no_save", "--pidfile="])
    config.subCommand, config.subOptions = Plugin.tapname, None
    config.loadedPlugins = {Plugin.tapname: Plugin(make_angel)}
    config["logger"] = lambda: own_log
    try:
        runApp(config)  # type: ignore[no-untyped-call]
    except Exception:
        log.failure("the angel has failed")
        raise
    finally:
        os._exit(0)


def call_later(seconds: float, call: Callable[[], None]) -> None:
    """Call a function after a while. The reactor is there by then; the process forks before it is."""
    from twisted.internet import reactor

    later: Any = reactor
    later.callLater(seconds, call)


def teller(ear: int) -> Callable[[int, str], bool]:
    """Return what says the outcome, the first time it is called, and then whether somebody has heard it."""
    left = [ear]

    def tell(status: int, text: str) -> bool:
        if not left:
            return True
        with open(left.pop(), "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps([status, text]).encode())
            return True
        return False

    return tell
