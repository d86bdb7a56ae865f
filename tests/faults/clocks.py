"""A clock on the wall that a test can set: for one broker, in its own process, and without any library.

What the process takes for the system's time of day is computed from two numbers in a file. Clocks that cannot be
set (`time.monotonic`) are left alone, as the kernel leaves them.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

from twisted.internet.base import ReactorBase
from twisted.python.runtime import platform

#: The moment from which it holds (as `time.monotonic`), the seconds shown then, and seconds shown in a second.
SETTING = struct.Struct("=ddd")


class WrongClock:
    """The clock of one broker, which the test sets."""

    def __init__(self, path: Path) -> None:
        """`path`: a file, which is made."""
        self.path = path
        self._write(time.time(), 1.0)

    def move(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._write(self.read() + seconds, 1.0)

    def run(self, rate: float) -> None:
        """Let it run at another speed."""
        self._write(self.read(), rate)

    def read(self) -> float:
        """Return what it shows."""
        return shown(SETTING.unpack(self.path.read_bytes()))

    def _write(self, shows: float, rate: float) -> None:
        data = SETTING.pack(time.monotonic(), shows, rate)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(file, data, 0)  # in one piece
        os.close(file)


def shown(setting: tuple[float, ...]) -> float:
    """Return what a clock shows that was set like this."""
    since, shows, rate = setting
    return shows + (steady() - since) * rate


steady = time.monotonic  # also for a broker that has another one put in its place


def obey(path: str) -> None:
    """Take the time of day from such a clock, from now on: whoever asks `time.time`, and has done so before."""
    file = os.open(path, os.O_RDONLY)
    setting = mmap.mmap(file, SETTING.size, prot=mmap.PROT_READ)
    os.close(file)
    really = time.time

    def wrong() -> float:
        return shown(SETTING.unpack(setting))

    for module in list(sys.modules.values()):
        for name in [name for name, value in vars(module).items() if value is really]:
            setattr(module, name, wrong)
    time.time_ns = lambda: int(wrong() * 1e9)
    # Twisted keeps it in two classes besides.
    platform.seconds = wrong
    ReactorBase.seconds = staticmethod(wrong)
