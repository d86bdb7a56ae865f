"""The angel: Twisted's procmon, which starts the broker and starts it again when it has died.

What procmon does not do is here: it gives up, it says how things stand, it waits for the end of the broker
before it ends itself.

1. The broker is ready when it prints its line, and not before. Whoever started the angel is told then.
2. One that dies before it was ready for the first time, or ends with status 2 at any time, is not started again:
   it would say the same again. Whoever started the angel is told its words.
3. Any other death is followed by the next start: at once after `threshold` seconds of being ready, else after a
   pause that doubles from `minRestartDelay` to `maxRestartDelay`. So many such immediate deaths in a row as the
   settings say, and the angel gives up.

Knows processes; not how it became a daemon, and not what the broker does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from signal import SIGHUP, Signals, signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.runner.procmon import LoggingProtocol, ProcessMonitor

from broker.angel.instance import PidFile, Record
from broker.angel.leash import KILL_AFTER
from broker.commands.line import DONE, FAILED, USAGE, in_one_line

NAME = "broker"  # procmon's, of its only process
LONGEST = 4096  # bytes of last words


class Life(LoggingProtocol):
    """One broker process. What it says goes into the log as it is: it has its own time and level."""

    service: Angel

    def __init__(self, angel: Angel) -> None:
        """`angel` is who watches over it."""
        self.service = angel
        self.name = NAME
        self.ready = ""  # the line
        self.last_words = b""
        self._out = b""

    def outReceived(self, data: bytes) -> None:
        """Twisted: it has printed something: the line with `ready`, and later one for each reload."""
        self._out += data
        *lines, self._out = self._out.split(b"\n")
        for line in lines:
            if not self.ready:
                self.ready = line.decode(errors="replace")
                self.service.begin_life(self)
            else:
                self.service.note_reload(*json.loads(line))

    def errReceived(self, data: bytes) -> None:
        """Twisted: it has complained or logged something."""
        self.service.keep(data)
        self.last_words = (self.last_words + data)[-LONGEST:]

    def processEnded(self, reason: Failure) -> None:
        """Twisted: it is dead, and has said all it had to say."""
        self.service.end_life(self, reason)
        super().processEnded(reason)

    def last_line(self) -> str:
        """Return the last line it has complained or logged."""
        lines = self.last_words.decode(errors="replace").split("\n")
        return in_one_line(next((line for line in reversed(lines) if line.strip()), ""))


class Angel(ProcessMonitor):
    """Keeps one broker running, as a service of Twisted."""

    threshold = 2  # seconds
    minRestartDelay = 0.1  # type: ignore[assignment]  # procmon's are whole by chance only
    maxRestartDelay = 30
    killTime = KILL_AFTER  # type: ignore[assignment]

    def __init__(
        self,
        reactor: Any,
        flags: Sequence[str],
        immediate_deaths: int,
        record: Record,
        pid_file: PidFile,
        log_file: LogFile,
        tell: Callable[[int, str], bool],
        follow: Callable[[], None],
    ) -> None:
        """Make the angel of a broker with these flags of `hoofbeat run`.

        `follow` is called when the broker has taken over another configuration.
        `tell` gets an exit status and a line once for whoever has started us; it returns whether there is
        still somebody.
        """
        super().__init__(reactor)
        self._loop = reactor
        self._immediate_deaths = immediate_deaths
        self._deaths = 0  # immediate ones in a row
        self._record = record
        self._pid_file = pid_file
        self._log_file = log_file
        self._tell = tell
        self._follow = follow
        self._is_to_reload = False  # the broker, as soon as it is ready
        self._gone: Deferred[None] | None = None
        self._command = [sys.executable, "-P", "-m", "broker.angel.leash", *flags]
        # Whatever made us find our own modules: a checkout, an environment.
        path = os.pathsep.join(filter(None, sys.path))
        self._environment = {**os.environ, "PYTHONPATH": path}
        self.addProcess(NAME, self._command, env=self._environment)

    def startService(self) -> None:
        """Twisted: start the broker."""
        signal(SIGHUP, lambda *_: self._loop.callFromThread(self.reload))
        self._record.angel = os.getpid()
        super().startService()

    def startProcess(self, name: str) -> None:
        """Start the broker, as procmon does, but with a `Life`. Twisted calls this for a restart, too."""
        if name in self.protocols:
            return
        life = self.protocols[name] = Life(self)
        self.timeStarted[name] = self._loop.seconds()
        try:
            process = self._loop.spawnProcess(
                life, self._command[0], self._command, env=self._environment
            )
        except OSError as error:  # no more processes may be had
            life.connectionMade()
            life.last_words = f"cannot start a process: {error.strerror}".encode()
            life.processEnded(Failure())  # type: ignore[no-untyped-call]
            return
        self._note("restarting" if self._record.restarts else "starting", broker=process.pid)

    def begin_life(self, life: Life) -> None:
        """The broker is ready."""
        self.timeStarted[NAME] = self._loop.seconds()  # how long a start takes does not count
        self.log.info("the broker is ready: process {pid}", pid=self._record.broker)
        self._note("running", ready=life.ready, since=time.time())
        if not self._tell(DONE, life.ready):
            self.log.error("nobody waits for the broker any more, ending it")
            self._loop.stop()
        elif self._is_to_reload:
            self.reload()

    def reload(self) -> None:
        """Let the broker read its configuration anew; one that is not ready would not understand."""
        life: Any = self.protocols.get(NAME)
        is_ready = life is not None and bool(life.ready)
        self._is_to_reload = not is_ready
        if is_ready:
            with contextlib.suppress(ProcessExitedAlready):
                life.transport.signalProcess("HUP")

    def note_reload(self, is_taken: bool, text: str) -> None:
        """The broker has read its configuration anew."""
        if is_taken:
            self._follow()
        number = self._record.reloads + 1
        self._note(self._record.state, reloads=number, reloaded=is_taken, reload=text)

    def end_life(self, life: Life, reason: Failure) -> None:
        """The broker is dead: decide whether there is to be another."""
        how = f"the broker {how_it_ended(reason)}"
        if not self.running:
            self.log.info("{how}, as it was asked to", how=how)
            if self._gone is not None:
                self._gone.callback(None)
            return
        if getattr(reason.value, "exitCode", None) == USAGE:
            self._give_up(USAGE, life.last_line().removeprefix("hoofbeat: ") or how)
        elif not life.ready and not self._record.restarts:
            words = life.last_line()
            self._give_up(FAILED, f"{how} before it was ready" + (f": {words}" if words else ""))
        else:
            self._count(life, how)

    def _count(self, life: Life, how: str) -> None:
        """Let procmon start another, unless this was one death too many."""
        now = self._loop.seconds()
        if not life.ready:
            self.timeStarted[NAME] = now
            how += " before it was ready"
        is_immediate = now - self.timeStarted[NAME] < self.threshold
        self._deaths = self._deaths + 1 if is_immediate else 0
        if self._deaths == self._immediate_deaths:
            self._give_up(
                FAILED, f"{how}; {self._deaths} times in a row it died at once, giving up"
            )
            return
        self.log.error("{how}, starting another", how=how)
        self._note("restarting", broker=0, restarts=self._record.restarts + 1, why=how)

    def _give_up(self, status: int, why: str) -> None:
        """End, and leave word why."""
        self.log.critical("failed: {why}", why=why)
        self.removeProcess(NAME)
        self._note("failed", broker=0, why=why)
        self._tell(status, why)
        self._loop.stop()

    def stopService(self) -> Deferred[None] | None:  # type: ignore[override]  # Twisted waits for it
        """Twisted: stop the broker in order, and wait until it has ended."""
        super().stopService()
        if self._record.state == "failed":
            return None
        self._note("stopping")
        self._tell(FAILED, "it was stopped before it was ready")
        if not self.protocols:
            self._pid_file.remove()
            return None
        self._gone = Deferred()
        return self._gone.addCallback(lambda _: self._pid_file.remove())

    def keep(self, data: bytes) -> None:
        """Put what the broker says into the log; a full disk is no reason to stop it."""
        with contextlib.suppress(OSError):
            self._log_file.write(data)  # type: ignore[no-untyped-call]

    def _note(self, state: str, **changes: Any) -> None:
        """Write down how things stand, for `hoofbeat status`."""
        self._record.state = state
        for name, value in changes.items():
            setattr(self._record, name, value)
        try:
            self._pid_file.write(self._record)
        except OSError as error:
            self.log.error("cannot write the pid file: {error}", error=error)


def how_it_ended(reason: Failure) -> str:
    """Return how a process has ended, for a sentence."""
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        return f"was killed by {Signals(error.signal).name}"
    if isinstance(error, OSError):
        return "could not be started"
    return f"ended with status {getattr(error, 'exitCode', None) or 0}"
