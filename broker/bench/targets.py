"""What is measured: a broker somewhere, a fresh local one, or the ceiling.

A target is a context manager: entering starts what must be started, leaving ends it and removes its
files, whatever happened in between.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.bench import interrupts
from broker.bench.checks import MeasurementError
from broker.bench.process import ProcessError, listening_process
from broker.bench.wire import Address, Link
from rpc.address import parse_address

START_PATIENCE = 30.0  # seconds until a process must be ready
END_PATIENCE = 15.0  # seconds after SIGTERM until it is killed
READY = re.compile(r"\bready\b.*?\b([\w.-]+):(\d+)\b")
PORT = re.compile(r"^()(\d+)$")  # the ceiling prints nothing else

#: Where our own packages lie, for processes that are started in their name.
PACKAGES = Path(__file__).resolve().parent.parent.parent


class TargetError(Exception):
    """A target cannot be used; the text is one line for the user."""


class Target:
    """Something to measure, under a name."""

    copies = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = ""
        self.shown = ""  # the URL without a passcode, for tables and files
        self.address = Address("", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""


class Running(Target):
    """A broker that somebody else has started."""

    def __init__(self, name: str, url: str) -> None:
        """Find it; without a name it is called by its place. Raises `TargetError` for a URL that is none."""
        try:
            place = parse_address(url)
        except ValueError as error:
            raise TargetError(str(error)) from error
        if place.tls is not None:
            raise TargetError("what is measured has no TLS: give a listener's stomp:// URL")
        shown = f"stomp://{place}"
        super().__init__(name or shown)
        self.url = url
        self.shown = shown
        pids = []
        with contextlib.suppress(ProcessError):
            pids = [listening_process(place.host, place.port)]
        self.address = Address(
            place.host,
            place.port,
            login=place.login,
            passcode=place.passcode,
            vhost=place.vhost or place.host,
            pids=pids,
        )

    def __enter__(self) -> Self:
        """Log in once, so that a wrong address is told now and not row by row. Raises `TargetError`."""
        try:
            with interrupts.welcome():
                Link(self.address, "").close()
        except MeasurementError as error:
            raise TargetError(f"{self.name} cannot be used: {error}") from error
        return self


class Started(Target):
    """A process of ours that tells in a line where it listens."""

    module = ""
    says = READY

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._stack = contextlib.ExitStack()

    def arguments(self, directory: Path) -> list[str]:
        """Return the command line; `directory` is for the files of this run."""
        return []

    def __enter__(self) -> Self:
        """Start it and wait until it is ready. Raises `TargetError`."""
        with contextlib.ExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="hoofbeat-bench-"))
            )
            errors = stack.enter_context((directory / "stderr").open("w+b"))
            process = start(self.module, self.arguments(directory), errors.fileno())
            stack.callback(end, process)
            line = ""
            for line in lines(process, START_PATIENCE):
                found = self.says.search(line)
                if found:
                    break
            else:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise TargetError(f"{self.name} does not start: {said or line or 'no word'}")
            host, port = found[1] or "127.0.0.1", int(found[2])
            self.address = Address(host, port, copies=self.copies, pids=[process.pid])
            self.url = self.shown = f"stomp://{host}:{port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it and remove its files."""
        self._stack.close()


class Fresh(Started):
    """A hoofbeat broker of our own, with an empty data directory."""

    module = "broker"

    def __init__(self, name: str, store: str | None = None) -> None:
        """`store`: a store URL; by default the broker's own choice in the directory of this run."""
        super().__init__(name)
        self.store = store

    def arguments(self, directory: Path) -> list[str]:
        """Return the command line of `hoofbeat run`."""
        chosen = ["--store", self.store] if self.store else []
        return ["run", "--port", "0", "--data", str(directory / "data"), *chosen]


class Ceiling(Started):
    """The process that only copies bytes."""

    module = "broker.bench.ceiling"
    says = PORT
    copies = True


def start(module: str, arguments: list[str], errors: int | None = None) -> subprocess.Popen[bytes]:
    """Start a module of ours, its standard input and output piped, away from the terminal's Ctrl-C."""
    paths = [str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(  # noqa: S603 -- our own modules, our own arguments
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process for certain, and close its pipes."""
    if process.poll() is None:
        process.terminate()
    # Only now: a load generator would complain that nobody listens.
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def lines(process: subprocess.Popen[bytes], patience: float) -> Iterator[str]:
    """Yield the lines a process prints, until it ends or is silent for `patience` seconds."""
    if process.stdout is None:
        raise ValueError("its output is not piped")
    descriptor = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            with interrupts.welcome():
                ready = selector.select(patience)
            if not ready:
                return
            data = os.read(descriptor, 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode()
