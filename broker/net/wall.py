"""The time of day as the broker goes by it: the system's, but for its jumps.

Somebody sets the system's clock a day forward, or an hour back; a time server corrects it; it runs ten times too
fast. Messages that expire tomorrow must not be gone because of that, nor what is due in a minute wait for a day. So
the time of day is reckoned from a clock that cannot be set (CLOCK_BOOTTIME, which goes on while the machine sleeps),
and follows the system's by a second in a hundred at most, as that of an Erlang node does (and so RabbitMQ's):

- what a time server usually corrects, fractions of a second, is followed soon and not noticed;
- a clock that was set is told of in the log, once. A broker that is started again takes it over at once.

Timers must not jump either, and Twisted's do: they are set by `time.time`. `steady_timers` mends that.

It knows no messages. One for the process, as time is.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.logger import Logger

log = Logger()

SLEW = 0.01  # seconds in a second by which the system's clock is followed
NEAR = 0.05  # seconds that the system's clock may be off ours and still be right; a time server slews less
FAR = 10.0  # seconds from which the operator is told

#: Cannot be set, as `time.monotonic`; where there is none that counts sleep, the latter.
STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Wall:
    """A time of day without jumps. It begins with the system's when it is first asked."""

    def __init__(self) -> None:
        self._offset = 0.0  # from the steady clock to ours, seconds
        self._asked = 0.0  # when, by the steady clock; 0: never
        self._told = False  # the operator knows

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        system, steady = time.time(), time.clock_gettime(STEADY)
        if not self._asked:
            self._offset = system - steady
        most = (steady - self._asked) * SLEW
        self._asked = steady
        off = system - steady - self._offset
        if -NEAR < off < NEAR:
            self._offset += max(-most, min(most, off))
            self._told = False
            return system
        self._offset += max(-most, min(most, off))
        if not self._told and abs(off) > FAR:
            self._told = True
            log.warn(
                "The system's clock was set by {off:+.0f} s: the broker follows by a second in a hundred,"
                " or at once when it is started again",
                off=off,
            )
        return steady + self._offset


time_of_day = Wall()


def steady_timers(reactor: Any) -> None:
    """Let a reactor of Twisted's that runs no timer yet measure time by a clock that cannot be set.

    Else a clock that is set back by a day lets every heart-beat wait for a day.
    """
    reactor.seconds = time.monotonic
