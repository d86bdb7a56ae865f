"""Remote calls through `rpc`: a worker process of its own, and this process calls it in one way or another.

python -m broker.bench.remote URL SERVICE      the worker: ends when its standard input does
"""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import rpc
from broker.bench.callers import WAYS, Callers, numbered
from broker.bench.checks import MeasurementError
from broker.bench.order import Order
from broker.bench.process import ProcessError, cpu_seconds
from broker.bench.timing import TELL_EVERY, Result, Stopwatch, Tell, percentile

AT_ONCE = 64  # calls that the worker takes from the queue ahead: as many as the rows have under way


def call_remotely(order: Order, result: Result) -> None:
    """Measure calls to one worker process; the row's settings say in which way. Raises `MeasurementError`."""
    # A program that calls collects its garbage, and what the client leaves of it is its cost.
    gc.enable()
    command = [sys.executable, "-m", "broker.bench.remote", order.url, order.prefix]
    with subprocess.Popen(  # noqa: S603 -- our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        try:
            if worker.stdout is None or not worker.stdout.readline():
                raise MeasurementError("the worker did not start")
            way = WAYS[order.settings["way"]]
            callers = way(order.url, order.prefix, order.settings["flight"])
            callers.start()
            try:
                wait(callers, order.warmup, order.tell, 0)
                watch, worker_cpu = Stopwatch(order.address.pids), cpu(worker.pid)
                callers.counting = True
                before = callers.done
                wait(callers, order.seconds, order.tell, before)
                result.operations = callers.done - before
                watch.stop(result)
                callers.counting = False
                worker_cpu = cpu(worker.pid) - worker_cpu
            finally:
                callers.stop()
        finally:
            worker.terminate()
    if not result.operations:
        raise MeasurementError("no call was answered in the measured time")
    result.note = costs(result, worker_cpu)
    result.cpu_generator += worker_cpu
    if callers.seen:
        seen = callers.seen
        result.latency = (percentile(seen, 50) * 1e3, percentile(seen, 99) * 1e3, max(seen) * 1e3)


def costs(result: Result, worker: float) -> str:
    """Say how much CPU time a call took of whom, as far as it is known."""
    used = {"client": result.cpu_generator, "worker": worker, "broker": result.cpu_target}
    each = 1e6 / result.operations
    said = [f"{name} {seconds * each:.0f}" for name, seconds in used.items() if seconds]
    return f"{' '.join(said)} µs"


def wait(callers: Callers, seconds: float, tell: Tell, before: int) -> None:
    """Let them call for some time, and tell how far they are."""
    end = time.perf_counter() + seconds
    gone = threading.Event()
    while (left := end - time.perf_counter()) > 0 and not callers.failure:
        gone.wait(min(left, TELL_EVERY))
        tell(callers.done - before)


def cpu(pid: int) -> float:
    """Return the CPU seconds of the worker, as far as the kernel tells."""
    try:
        return cpu_seconds(pid)
    except ProcessError:
        return 0.0


def work(url: str, service: str) -> None:
    """Answer calls until the parent is gone."""
    worker = rpc.Worker(url, service=service, concurrency=AT_ONCE)
    worker.method(echo)
    worker.method(numbers)

    def watch() -> None:
        sys.stdin.read()
        worker.stop()

    threading.Thread(target=watch, daemon=True).start()
    worker.run(on_ready=lambda: print("ready", flush=True))


def echo(argument: str) -> str:
    """Return what came."""
    return argument


def numbers() -> Iterator[str]:
    """Yield items until nobody wants more."""
    for number in itertools.count():
        yield numbered(number)


if __name__ == "__main__":
    work(*sys.argv[1:])
