"""Real processes for the tests of remote calls: a broker that can be killed, a worker, a script."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from time import monotonic
from types import TracebackType
from typing import Self

PATIENCE = 20.0  # seconds until a test gives up waiting


class Process:
    """A Python program whose output is read line by line, and which never outlives the test."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._rest = b""
        self.lines: list[str] = []
        self.pid = self._process.pid

    def write(self, text: str) -> None:
        """Let it read something."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait_for_line(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return the match of the first new line in which the pattern is found."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = monotonic() + patience
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                self.lines.append(line.decode())
                if match := re.search(pattern, self.lines[-1]):
                    return match
                continue
            ready = select.select([descriptor], [], [], max(0.0, deadline - monotonic()))[0]
            data = os.read(descriptor, 65536) if ready else b""
            assert data, f"no {pattern!r} in {self.lines}"
            self._rest += data

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        assert self._process.stdout is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.stdout.close()


class BrokerProcess(Process):
    """A broker, ready for connections. Killed, the next one may have its port."""

    def __init__(self, port: int = 0, store: str = "memory:", config: str | None = None) -> None:
        more = () if config is None else ("--config", config)
        super().__init__("-m", "broker", "run", "--port", str(port), "--store", store, *more)
        self.port = int(self.wait_for_line(r"ready.*:(\d+)")[1])
        self.url = f"stomp://127.0.0.1:{self.port}"


#: What runs a worker of each face. The source stands at the beginning, and has `worker` and `say`.
HEAD = """
import asyncio, os, signal, sys, threading, time
import {module} as face, rpc
say = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
_, url, service, concurrency, *more = sys.argv
worker = face.Worker(url, service, concurrency=int(concurrency), heart_beat=0.5, **eval("dict(" + "".join(more) + ")"))
{source}
"""
TAILS = {
    "rpc": """
if __name__ == "__main__":
    worker.run(on_ready=lambda: say("ready"))
    say("stopped")
""",
    "rpc.aio": """
if __name__ == "__main__":
    asyncio.run(worker.run(on_ready=lambda: say("ready"), signals=True))
    say("stopped")
""",
    "rpc.tx": """
if __name__ == "__main__":
    from twisted.internet import reactor
    reactor.callWhenRunning(worker.run, lambda: say("ready"))
    reactor.run()
    say("stopped")
""",
}


class WorkerProcess(Process):
    """A worker that serves the functions defined in `source`, ready to be called.

    The source finds `worker`, and `say`, which writes a line for `wait_for_line`. `options`: more
    arguments of `Worker`, as they are written.
    """

    def __init__(
        self,
        url: str,
        service: str,
        source: str,
        concurrency: int = 4,
        *,
        face: str = "rpc",
        options: str = "",
    ) -> None:
        text = HEAD.format(module=face, source=source) + TAILS[face]
        super().__init__("-c", text, url, service, str(concurrency), options)
        self.wait_for_line("^ready$")
