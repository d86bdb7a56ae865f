"""How a command becomes a daemon: Twisted's twistd, with an angel as its only service.

twistd forks twice, leaves the terminal, takes the signals, logs, and runs the reactor. Its pid file is not used:
it would trust a number (`broker.angel.instance`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.logfile import LogFile
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]  # documented

from broker.angel.instance import PidFile, Record
from broker.angel.monitor import Angel
from broker.cli import log_observer
from broker.net.wall import steady_timers
from broker.options import Options

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
    record: Record,
    pid_file: PidFile,
    log_file: LogFile,
    ear: int,
) -> NoReturn:
    """Leave the terminal and be the angel, to the end of the process. For a fork of the command.

    `ear` is a pipe on which whoever has started us hears the outcome: an exit status and a line, as JSON.
    """

    def make_angel() -> IService:
        from twisted.internet import reactor

        steady_timers(reactor)
        return Angel(
            reactor, flags, options.immediate_deaths, record, pid_file, log_file, teller(ear)
        )

    config: Any = ServerOptions()  # type: ignore[no-untyped-call]
    config.parseOptions(["--no_save", "--pidfile="])
    config.subCommand, config.subOptions = Plugin.tapname, None
    config.loadedPlugins = {Plugin.tapname: Plugin(make_angel)}
    config["logger"] = lambda: log_observer(log_file)
    try:
        runApp(config)  # type: ignore[no-untyped-call]
    except Exception:
        log.failure("the angel has failed")
        raise
    finally:
        os._exit(0)


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
