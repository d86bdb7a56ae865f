"""A broker as a real process, and a client that speaks frames, for scenario tests.

Nothing here sleeps: everything waits for a line, a frame or the end of a process, with a deadline.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from argon2 import PasswordHasher

from broker.stomp import Frame, Parser
from tests.forks import Fork, program

DEADLINE = 30.0  # seconds; far more than anything takes, also on a busy machine
COMMAND = [sys.executable, "-m", "broker", "run", "--port", "0"]


class Running(Protocol):
    """A process: what `Fork` and `subprocess.Popen` have in common."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit status."""

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """End it as kill -9 does."""


#: Starts Python with these arguments, in a directory; standard output and standard error are descriptors.
Launch = Callable[[Sequence[str], Path, int, int], Running]


def fork(arguments: Sequence[str], directory: Path, stdout: int, stderr: int) -> Running:
    """Launch by a fork, which is the quick way."""
    code, rest = program(tuple(arguments))
    with open(os.devnull, "rb") as nothing:
        return Fork(
            code, *rest, stdin=nothing.fileno(), stdout=stdout, stderr=stderr, cwd=str(directory)
        )


class NotReady(AssertionError):
    """A broker has ended, or was ended, before it was ready."""


class BrokerProcess:
    """`hoofbeat run` as a child process."""

    def __init__(
        self, store: str, directory: Path, settings: dict[str, object], launch: Launch = fork
    ) -> None:
        """Start it and wait until it is ready. `settings` go into a configuration file."""
        self.store = store
        self.log = directory / "broker.log"
        arguments = ["--store", store]
        if settings:
            config = directory / "hoofbeat.toml"
            config.write_text(to_toml(settings))
            arguments += ["--config", str(config)]
        out, stdout = os.pipe()
        with self.log.open("ab") as log:
            self.process = launch((*COMMAND[1:], *arguments), directory, stdout, log.fileno())
        os.close(stdout)
        self._out = open(out)  # noqa: SIM115
        line = self.line = read_line(self._out)  # the one with `ready`
        found = re.search(r"ready on (stomp(?:\+ssl)?://127\.0\.0\.1:(\d+))", line)
        if found is None:
            self.kill()
            raise NotReady(line, self.log.read_text())
        self.url = found[1]
        self.port = int(found[2])
        #: The port of each listener, by the scheme of its URL; of several with one scheme, of the last.
        listeners = re.findall(r"([a-z+]+)://[^\s,]+:(\d+)", line)
        self.ports = {scheme: int(port) for scheme, port in listeners}
        self.all_ports = [int(port) for _, port in listeners]

    def connect(self, version: str = "1.2", **headers: str) -> Client:
        """Return a client that is logged in."""
        return Client(self.port, version, **headers)

    def kill(self) -> None:
        """End it as a power cut would, and wait."""
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        """End it as an operator would; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        status = self.process.wait(DEADLINE)
        self._out.close()
        return status

    def memory(self, kind: str = "RssAnon") -> int:
        """Return its memory in bytes, as the kernel counts it."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{kind}:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024


def to_toml(settings: dict[str, object], within: str = "") -> str:
    """Return settings as a configuration file.

    A dict is a kind of section, with a dict for each of them; a list of dicts is a kind without names. `within`
    begins the names of sections.
    """
    plain, sections = [], []
    for name, value in settings.items():
        if isinstance(value, dict):
            for each, table in value.items():
                section = f"{within}{name}.{json.dumps(each)}"
                sections += [f"[{section}]\n", to_toml(table, f"{section}.")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for table in value:
                sections += [f"[[{name}]]\n", to_toml(table)]
        else:
            plain.append(f"{name} = {json.dumps(value)}\n")
    return "".join(plain + sections)


def read_line(output: IO[str] | None, deadline: float = DEADLINE) -> str:
    """Return the next line that a process prints, or what there is when it ends."""
    assert output is not None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        assert selector.select(deadline), "the process prints nothing"
    return output.readline()


PASSCODE = "open sesame"  # of everybody in the tests' users files


def write_users(directory: Path, **groups: str) -> str:
    """Write a users file and return its path: each user's groups, with commas. Looking at their hashes costs little."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    path = directory / "users"
    users = (f"{name}:{cheap.hash(PASSCODE)}:{of}\n" for name, of in groups.items())
    path.write_text("".join(users))
    path.chmod(0o600)
    return str(path)


class Closed(Exception):
    """The broker has hung up."""


class Client:
    """A STOMP client that sends what it is told, right or wrong, and returns frames."""

    def __init__(self, port: int, version: str | None = "1.2", **headers: str) -> None:
        """Connect; log in unless `version` is None."""
        self.socket = self.dial(port)
        self.version = version or "1.2"
        self.parser = Parser()
        self.received = b""  # everything, as it came
        self._frames: deque[Frame] = deque()
        self.connected = Frame("")
        if version is not None:
            login = {"accept-version": version, "host": "localhost"} | headers
            if version == "1.0":
                del login["accept-version"]
            try:
                self.write(Frame("CONNECT", login).encode("1.0"))
                self.connected = self.expect("CONNECTED")
            except BaseException:
                self.close()
                raise
            self.parser.version = version

    def dial(self, port: int) -> socket.socket:
        """Return a socket that is connected."""
        made = socket.create_connection(("127.0.0.1", port), DEADLINE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, command: str, body: bytes = b"", /, **headers: str) -> None:
        """Send a frame; `_` in a header's name stands for `-`, and `id_` for `id`."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in headers.items()}
        self.write(Frame(command, named, body).encode(self.version))

    def ask(self, command: str, body: bytes = b"", /, **headers: str) -> Frame:
        """Send a frame with a receipt and return the RECEIPT or ERROR, which must be the next frame."""
        self.send(command, body, receipt=f"{command} {id(headers)}", **headers)
        answer = self.frame()
        assert answer.headers.get("receipt-id") == f"{command} {id(headers)}", answer
        return answer

    def frame(self, deadline: float = DEADLINE) -> Frame:
        """Return the next frame. Raises `Closed` if the broker hangs up first."""
        end = time.monotonic() + deadline
        while not self._frames:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            data = self.socket.recv(1 << 20)
            self.received += data[: 1 << 16]
            if not data:
                raise Closed
            self._frames.extend(self.parser.feed(data))
            assert self.parser.error is None, self.parser.error
        return self._frames.popleft()

    def expect(self, command: str, **headers: str) -> Frame:
        """Return the next frame, which must have this command and these headers."""
        frame = self.frame()
        assert frame.command == command, (frame, frame.body)
        named = {name.rstrip("_").replace("_", "-"): value for name, value in headers.items()}
        assert named.items() <= frame.headers.items(), frame
        return frame

    def expect_closed(self) -> None:
        """The broker must hang up now, without a further frame."""
        try:
            frame = self.frame()
        except (Closed, ConnectionResetError):
            return
        raise AssertionError(f"unexpected {frame}")

    def silent(self) -> bool:
        """True if the broker has nothing more to say: a round trip brings only its own receipt."""
        name = os.urandom(4).hex()
        begun = self.ask("BEGIN", transaction=name).command == "RECEIPT"
        if begun:
            self.send("ABORT", transaction=name)
        return begun

    def close(self) -> None:
        """Hang up without a word."""
        self.socket.close()
