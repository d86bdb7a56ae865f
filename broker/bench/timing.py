"""How a measurement is timed: warm-up, the measured time, then the rest is awaited; and latencies.

The clock runs only between the end of the warm-up and the end of the measured time. What was asked in
that time and is still under way is awaited afterwards, because a measurement ends only when everything
has been answered, and is then a figure or a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from broker.bench.checks import Stalled
from broker.bench.numbered import number
from broker.bench.process import ProcessError, cpu_seconds, stolen_seconds
from broker.bench.wire import Loop

PATIENCE = 30.0  # seconds without any progress before what is missing counts as lost
TELL_EVERY = 0.2  # seconds between two reports of progress

#: Gets the operations done so far.
Tell = Callable[[int], None]


@dataclass
class Result:
    """What one measurement of one row found. Times in seconds, latencies in milliseconds."""

    row: str
    operations: int = 0
    seconds: float = 0.0
    latency: tuple[float, float, float] | None = None  # p50, p99, max of the sampled operations
    cpu_generator: float = 0.0  # CPU seconds used in the measured time
    cpu_target: float | None = None  # the same of the broker; None: unknown
    stolen: float | None = None  # CPU seconds the host of a virtual machine gave to others
    note: str = ""
    failure: str = ""  # not empty: there is no figure
    skipped: str = ""  # not empty: the broker cannot do this, and there is no figure either

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what goes to the parent process."""
        return asdict(self)


class Load(Protocol):
    """Something that keeps a broker busy."""

    done: int  # operations completed so far
    latencies: Latencies

    def turn(self, sending: bool) -> bool:
        """Send what may be sent; True if more could be sent at once."""

    def missing(self) -> str:
        """Say what has not been answered yet, or nothing."""


class Latencies:
    """Times from sending to answer, of one number in `every`, so that measuring costs little."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.counting = False
        self.seen: list[float] = []  # seconds
        self._sent: dict[bytes, float] = {}

    def sent(self, start: int, stop: int) -> None:
        """Note that the numbers `start` to `stop - 1` leave now."""
        if self.counting:
            now = time.perf_counter()
            for value in range(start + -start % self.every, stop, self.every):
                self._sent[number(value)] = now

    def came(self, numbers: list[bytes]) -> None:
        """Note that these numbers were answered now."""
        if self._sent:
            now = time.perf_counter()
            sent = self._sent
            self.seen += [now - sent.pop(item) for item in sent.keys() & numbers]

    def percentiles(self) -> tuple[float, float, float] | None:
        """Return p50, p99 and the maximum in milliseconds, or None if nothing was sampled."""
        if not self.seen:
            return None
        return (
            percentile(self.seen, 50) * 1e3,
            percentile(self.seen, 99) * 1e3,
            max(self.seen) * 1e3,
        )


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all values do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


class Stopwatch:
    """Wall and CPU time of ourselves and of the target, from now on."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._target = known(self._target_cpu)
        self._stolen = known(stolen_seconds)
        self._own = time.process_time()
        self._wall = time.perf_counter()

    def stop(self, result: Result) -> None:
        """Write into `result` what was used since."""
        result.seconds = time.perf_counter() - self._wall
        result.cpu_generator = time.process_time() - self._own
        result.cpu_target = difference(known(self._target_cpu), self._target)
        result.stolen = difference(known(stolen_seconds), self._stolen)

    def _target_cpu(self) -> float:
        if not self._pids:
            raise ProcessError("nobody told which process it is")
        return sum(map(cpu_seconds, self._pids))


def known(read: Callable[[], float]) -> float | None:
    """Return what the kernel tells, or None if it does not."""
    try:
        return read()
    except ProcessError:
        return None


def difference(after: float | None, before: float | None) -> float | None:
    """Return how much was used between two readings, if both were possible."""
    return None if after is None or before is None else after - before


def drive(
    loop: Loop,
    load: Load,
    result: Result,
    pids: list[int],
    tell: Tell,
    warmup: float,
    seconds: float | None,
) -> None:
    """Run `load` for `warmup` and then `seconds`, or without a limit until nothing is missing.

    Fills `result`. Raises `MeasurementError` if something is lost or wrong.
    """
    now = time.perf_counter()
    progressed = float("inf")  # patience begins with the clock
    next_tell = now + TELL_EVERY
    ends = now + warmup
    progress = counted_from = 0
    watch: Stopwatch | None = None
    sending = True
    while True:
        if sending and now >= ends:
            if watch is None:
                watch = Stopwatch(pids)
                progressed = now
                counted_from = load.done
                load.latencies.counting = True
                ends = now + seconds if seconds is not None else float("inf")
            else:
                watch.stop(result)
                result.operations = load.done - counted_from
                sending = load.latencies.counting = False
        busy = load.turn(sending)
        loop.flush()
        now = time.perf_counter()
        if now >= next_tell:
            tell(load.done - counted_from)
            next_tell = now + TELL_EVERY
            if load.done != progress:
                progress, progressed = load.done, now
            elif now - progressed > PATIENCE:
                raise Stalled(f"{load.missing()} within {PATIENCE:.0f} s")
        if not busy and (seconds is None or not sending) and not load.missing():
            break
        loop.wait(0.0 if busy else max(0.0, min(next_tell, ends if sending else next_tell) - now))
    if sending and watch is not None:  # no limit: the end of the work is the end of the time
        watch.stop(result)
        result.operations = load.done - counted_from
    result.latency = load.latencies.percentiles()
