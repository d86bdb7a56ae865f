"""Remote calls through `rpc`: a worker process of its own, threads that call it, every answer compared.

python -m broker.bench.remote URL SERVICE      the worker: ends when its standard input does
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import rpc
from broker.bench.checks import MeasurementError
from broker.bench.process import ProcessError, cpu_seconds
from broker.bench.timing import TELL_EVERY, Result, Stopwatch, Tell, percentile

ARGUMENT = "x" * 100
SAMPLES = 100_000  # latencies kept at most
PATIENCE = 30.0  # seconds a call may take before it counts as lost


class Callers:
    """Threads that call as fast as they are answered."""

    def __init__(self, client: rpc.Client, threads: int) -> None:
        self.done = 0
        self.seen: list[float] = []  # seconds, while `counting`
        self.counting = False
        self.failure = ""
        self._client = client
        self._stop = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the calls under way. Raises `MeasurementError` if one has failed."""
        self._stop = True
        for thread in self._threads:
            thread.join()
        if self.failure:
            raise MeasurementError(self.failure)

    def _call(self) -> None:
        count = 0
        while not (self._stop or self.failure):
            count += 1
            argument = f"{threading.get_ident()}.{count}.{ARGUMENT}"[: len(ARGUMENT)]
            begun = time.perf_counter()
            try:
                answer = self._client.call("echo", argument, timeout=PATIENCE)
            except rpc.RpcError as error:
                self.failure = f"a call failed: {type(error).__name__}: {error}"
                return
            took = time.perf_counter() - begun
            if answer != argument:
                self.failure = f"a call was answered with {answer!r} instead of {argument!r}"
                return
            with self._lock:
                self.done += 1
                if self.counting and len(self.seen) < SAMPLES:
                    self.seen.append(took)


def call_remotely(
    url: str,
    service: str,
    pids: list[int],
    threads: int,
    result: Result,
    tell: Tell,
    warmup: float,
    seconds: float,
) -> None:
    """Measure calls of `threads` threads to one worker process. Raises `MeasurementError`."""
    command = [sys.executable, "-m", "broker.bench.remote", url, service]
    with subprocess.Popen(  # noqa: S603 -- our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        try:
            if worker.stdout is None or not worker.stdout.readline():
                raise MeasurementError("the worker did not start")
            with rpc.Client(url, service=service) as client:
                callers = Callers(client, threads)
                callers.start()
                try:
                    wait(callers, warmup, tell, 0)
                    watch, worker_cpu = Stopwatch(pids), cpu(worker.pid)
                    callers.counting = True
                    before = callers.done
                    wait(callers, seconds, tell, before)
                    watch.stop(result)
                    callers.counting = False
                    result.operations = callers.done - before
                    result.cpu_generator += cpu(worker.pid) - worker_cpu
                finally:
                    callers.stop()
        except rpc.RpcError as error:
            raise MeasurementError(f"{type(error).__name__}: {error}") from error
        finally:
            worker.terminate()
    if callers.seen:
        seen = callers.seen
        result.latency = (percentile(seen, 50) * 1e3, percentile(seen, 99) * 1e3, max(seen) * 1e3)


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
    worker = rpc.Worker(url, service=service)
    worker.method(echo)

    def watch() -> None:
        sys.stdin.read()
        worker.stop()

    threading.Thread(target=watch, daemon=True).start()
    worker.run(on_ready=lambda: print("ready", flush=True))


def echo(argument: str) -> str:
    """Return what came."""
    return argument


if __name__ == "__main__":
    work(*sys.argv[1:])
