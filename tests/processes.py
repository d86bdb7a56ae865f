"""Real processes for the tests of remote calls: a broker that can be killed, a worker, a script."""

from __future__ import annotations

import os
import re
import select
from time import monotonic
from types import TracebackType
from typing import Self

from tests.forks import Fork, program

PATIENCE = 20.0  # seconds until a test gives up waiting


class Process:
    """A Python program whose output is read line by line, and which never outlives the test."""

    def __init__(
        self, *arguments: str, cwd: str | None = None, environment: dict[str, str] | None = None
    ) -> None:
        """`arguments`: those of Python, `-c CODE …`, `-m MODULE …` or `FILE …`."""
        code, rest = program(arguments)
        self._rest = b""
        self.lines: list[str] = []
        stdin, self._in = os.pipe()
        self._out, stdout = os.pipe()
        try:
            self._process = Fork(
                code,
                *rest,
                stdin=stdin,
                stdout=stdout,
                stderr=stdout,
                cwd=cwd,
                environment=environment,
            )
        finally:
            os.close(stdin)
            os.close(stdout)
        self.pid = self._process.pid

    def write(self, text: str) -> None:
        """Let it read something."""
        os.write(self._in, text.encode())

    def wait_for_line(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return the match of the first new line in which the pattern is found."""
        deadline = monotonic() + patience
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                self.lines.append(line.decode())
                if match := re.search(pattern, self.lines[-1]):
                    return match
                continue
            ready = select.select([self._out], [], [], max(0.0, deadline - monotonic()))[0]
            data = os.read(self._out, 65536) if ready else b""
            assert data, f"no {pattern!r} in {self.lines}"
            self._rest += data

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def running(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

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
        os.close(self._in)
        os.close(self._out)


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
