"""What `hoofbeat run` tells systemd: that it is ready, reloading, ending, that its loop still turns.

The protocol is a datagram of text to the address in `NOTIFY_SOCKET`: sd_notify(3), sd_watchdog_enabled(3). It is
shorter than the packages for it, which are unkept or want libsystemd's headers. Where nobody asks, nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall

PATIENCE = 0.1  # seconds; systemd reads at once, or something worse is wrong


def notify_systemd(reactor: Any) -> Callable[[bool], None]:
    """Tell who has started this process how it is, from now to its end, if it has asked for that.

    Returns what tells that the configuration is being read anew (True), and that this is done (False).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return lambda begins: None
    if address.startswith("@"):  # how an abstract name is written
        address = f"\0{address[1:]}"
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.settimeout(PATIENCE)

    def say(text: bytes) -> None:
        with contextlib.suppress(OSError):
            channel.sendto(text, address)

    reactor.callWhenRunning(say, b"READY=1")
    reactor.addSystemEventTrigger("before", "shutdown", say, b"STOPPING=1")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    is_ours = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    if is_ours and microseconds.isdecimal() and int(microseconds) > 0:
        beat = LoopingCall(say, b"WATCHDOG=1")
        reactor.callWhenRunning(beat.start, int(microseconds) / 2_000_000)

    def reloading(begins: bool) -> None:
        now = time.monotonic_ns() // 1000
        say(b"RELOADING=1\nMONOTONIC_USEC=%d" % now if begins else b"READY=1")

    return reloading
