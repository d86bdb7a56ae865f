"""Several worker processes, kept alive by one that does nothing else.

1. The first process is started alone: a program that cannot be loaded says so once, and not N times. When it
   has loaded the program, the others are started.
2. One that dies is started again, after a pause that grows while it dies young. Calls that it had go to others.
3. One that dies `STILLBORN` times in a row before it was ready will never be: all of it ends, with status 1.
4. SIGTERM, SIGINT and SIGHUP end all, in order: each process gets SIGTERM and finishes what it runs. A second
   signal kills them.

Each process has a socket to this one, over which it says how far it has come; if this process dies, the
sockets close, and they end in order too. Each is in a process group of its own, so that Ctrl-C reaches this
process alone, which passes it on once.

Knows processes and signals; not what the processes do.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import FrameType

from broker.commands.line import DONE, FAILED, SIGNALLED, USAGE, complain
from rpc.backoff import backoff

LOADED, READY = b"L", b"R"  # what a process says of itself
STILLBORN = 5  # deaths in a row before it was ready, until it is given up
STEADY = 10.0  # seconds of life after which a death is a first one
HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: Not `-m`: that would look for us in the current directory first.
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from broker.commands.worker import serve_on_leash;"
    "sys.exit(serve_on_leash(int(sys.argv[2]), sys.argv[3:]))"
)


@dataclass
class Place:
    """Where one process is, or will be again."""

    number: int  # 1, 2, …
    due: float | None = None  # when to start it; monotonic seconds
    process: subprocess.Popen[bytes] | None = None
    leash: socket.socket | None = None
    began: float = 0.0
    loaded: bool = False  # the process that there is
    ready: bool = False
    failures: int = 0  # deaths in a row
    stillborn: int = 0  # of those, before it was ready


class Processes:
    """All of them."""

    def __init__(self, words: Callable[[int], Sequence[str]], count: int) -> None:
        """`words` returns the arguments of a process by its number."""
        self._words = words
        self._places = [Place(number) for number in range(1, count + 1)]
        self._places[0].due = monotonic()
        self._status: int | None = None  # set: all are to end, and then we with this
        self._selector = selectors.DefaultSelector()

    def run(self, signals: socket.socket) -> int:
        """Start them and keep them until a signal comes; return the exit status.

        From `signals` come the numbers of signals, as `signal.set_wakeup_fd` writes them.
        """
        self._selector.register(signals, selectors.EVENT_READ)
        while self._status is None or any(place.process for place in self._places):
            dues = [place.due for place in self._places if place.due is not None]
            wait = max(0.0, min(dues) - monotonic()) if dues else None
            for key, _ in self._selector.select(wait):
                if key.data is not None:
                    self._hear(key.data)
                    continue
                for number in signals.recv(256):
                    if number in HEEDED:
                        self._end(number)
            for place in self._places:
                if place.process is not None and place.process.poll() is not None:
                    self._bury(place, place.process)
            for place in self._places:
                if place.due is not None and place.due <= monotonic():
                    self._start(place)
        return self._status

    def _start(self, place: Place) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(theirs.fileno())]
            place.process = subprocess.Popen(  # noqa: S603  # what we were called with
                [*command, *self._words(place.number)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        ours.setblocking(False)
        place.leash, place.began, place.due = ours, monotonic(), None
        place.loaded = place.ready = False
        self._selector.register(ours, selectors.EVENT_READ, place)

    def _hear(self, place: Place) -> None:
        """Note how far a process has come."""
        if place.leash is None:
            return
        try:
            said = place.leash.recv(64)
        except BlockingIOError:  # it is dead, and a process that it has started is not
            return
        except ConnectionError:
            said = b""
        if not said:  # it is dead, or has closed what it does not know
            self._let_go(place)
        if LOADED in said:
            place.loaded = True
            for other in self._places:
                if other.began == 0.0 and self._status is None:
                    other.due = monotonic()
        if READY in said:
            place.ready, place.stillborn = True, 0

    def _let_go(self, place: Place) -> None:
        if place.leash is not None:
            self._selector.unregister(place.leash)
            place.leash.close()
            place.leash = None

    def _bury(self, place: Place, process: subprocess.Popen[bytes]) -> None:
        """See to a process that has ended."""
        self._hear(place)
        self._let_go(place)
        place.process = None
        how = _how(process.returncode)
        if self._status is not None:
            if process.returncode not in (0, -signal.SIGTERM) and self._status == DONE:
                complain(f"worker process {process.pid} {how} while it was to finish", FAILED)
                self._status = FAILED
            return
        if process.returncode == USAGE and not any(each.loaded for each in self._places):
            self._status = USAGE  # it has said why
            return
        place.stillborn += not place.ready
        if place.stillborn == STILLBORN:
            complain(
                f"worker process {process.pid} {how}; {STILLBORN} in a row were never ready, giving up"
            )
            self._end_with(FAILED)
            return
        place.failures = 1 if monotonic() - place.began > STEADY else place.failures + 1
        pause = backoff(place.failures, random.random())  # noqa: S311  # no secret
        place.due = monotonic() + pause
        complain(f"worker process {process.pid} {how}; another starts in {pause:.1f} s")

    def _end(self, number: int) -> None:
        """A signal has come: end them, or kill them if it is not the first."""
        if self._status is None:
            self._end_with(DONE)
            return
        self._status = SIGNALLED + number
        for place in self._places:
            if place.process is not None:
                os.killpg(place.process.pid, signal.SIGKILL)

    def _end_with(self, status: int) -> None:
        self._status = status
        for place in self._places:
            place.due = None
            if place.process is not None:
                place.process.terminate()


def supervise(words: Callable[[int], Sequence[str]], count: int) -> int:
    """Run so many worker processes until a signal comes; return the exit status. In the main thread."""
    with _signals() as signals:
        return Processes(words, count).run(signals)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Return a socket from which signals are read, as they come."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # What whoever started us ignores (nohup) stays ignored.
    heeded = [each for each in HEEDED if signal.getsignal(each) is not signal.SIG_IGN]
    heeded.append(signal.SIGCHLD)
    before = {number: signal.signal(number, _nothing) for number in heeded}
    old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()


def _nothing(number: int, frame: FrameType | None) -> None:
    """What matters is that its number is written."""


def _how(status: int) -> str:
    """Return how a process has ended."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
