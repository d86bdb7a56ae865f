"""The ways to call that are measured: what they count is compared with what is due, and nothing hangs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from broker.bench.callers import WAYS
from tests.harness import DEADLINE, BrokerProcess
from tests.processes import WorkerProcess

#: The reactor runs once in a process, so each way gets one, as it does in the benchmark.
CALLING = """
import sys, threading, time
from broker.bench.callers import WAYS
from broker.bench.checks import MeasurementError

url, way, count = sys.argv[1:]
callers = WAYS[way](url, "measured", 8)
callers.counting = True
callers.start()
end = time.monotonic() + 30
while callers.done < int(count) and not callers.failure and time.monotonic() < end:
    threading.Event().wait(0.01)
    print(callers.done, flush=True)
try:
    callers.stop()
except MeasurementError as error:
    print("failed:", error)
else:
    print("right:", callers.done, len(callers.seen))
"""

RIGHT = """
import itertools

@worker.method
def echo(argument):
    return argument

@worker.method
def numbers():
    for number in itertools.count():
        yield f"{number:010d}" + "x" * 90
"""
WRONG_FROM_50 = """
import itertools
calls = itertools.count()

@worker.method
def echo(argument):
    return argument if next(calls) < 50 else argument.replace("x", "y")

@worker.method
def numbers():
    for number in itertools.count():
        yield f"{number if number < 50 else 7:010d}" + "x" * 90
"""

EACH_WAY = pytest.mark.parametrize("way", WAYS)


Start = Callable[[str, str, int], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts calling; who still does afterwards is ended."""
    with contextlib.ExitStack() as stack:

        def begin(url: str, way: str, count: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", CALLING, url, way, str(count)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def last_line(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=2 * DEADLINE)
    return out.splitlines()[-1]


@EACH_WAY
def test_what_is_right_is_counted(broker: BrokerProcess, start: Start, way: str) -> None:
    """Every call that was begun is counted at the end; a batch or a stream has no time of its own calls."""
    with WorkerProcess(broker.url, "measured", RIGHT):
        verdict, done, seen = last_line(start(broker.url, way, 200)).split()
    assert verdict == "right:"
    assert int(done) >= 200
    assert int(seen) == (0 if way in ("map", "stream") else int(done))


@EACH_WAY
def test_a_wrong_answer_is_no_figure(broker: BrokerProcess, start: Start, way: str) -> None:
    with WorkerProcess(broker.url, "measured", WRONG_FROM_50):
        line = last_line(start(broker.url, way, 1_000_000))
    assert line.startswith("failed: a call was answered with '0000000")
    assert " instead of '0000000" in line


@EACH_WAY
def test_a_broker_that_dies_is_no_figure(broker: BrokerProcess, start: Start, way: str) -> None:
    with WorkerProcess(broker.url, "measured", RIGHT):
        process = start(broker.url, way, 1_000_000_000)
        assert process.stdout is not None
        while not int(process.stdout.readline()):
            pass
        broker.kill()
        line = last_line(process)
    assert line.startswith("failed: a call failed: ConnectionLost: ")
