"""Programs that begin at once: forked from a process that has imported already what they are going to import.

Most of what a test with real processes takes is Python starting again and again. A fork is as real a process: it
is killed, gets signals, has descriptors and threads of its own. One process for forking serves a test run:

    python -m tests.forks DESCRIPTOR

It gets orders over a socket (what to run, and the descriptors 0, 1, 2 and one for the exit status).
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

LONGEST = 1024 * 1024  # bytes of an order


def program(arguments: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the code that Python runs when it is started with these arguments, and the code's own."""
    option, *rest = arguments
    if option == "-c":
        return rest[0], tuple(rest[1:])
    if option == "-m":
        module = f"runpy.run_module({rest[0]!r}, run_name='__main__', alter_sys=True)"
        return f"import runpy; {module}", tuple(rest[1:])
    folder = str(Path(option).resolve().parent)
    file = f"sys.path.insert(0, {folder!r}); runpy.run_path({option!r}, run_name='__main__')"
    return f"import runpy, sys; {file}", tuple(rest)


class Fork:
    """A program that runs: what `subprocess.Popen` is, as far as tests need it."""

    def __init__(
        self,
        code: str,
        *arguments: str,
        stdin: int,
        stdout: int,
        stderr: int,
        cwd: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Run Python code; `stdin`, `stdout` and `stderr` are descriptors, which the caller may close then."""
        order = {
            "code": code,
            "arguments": arguments,
            "cwd": cwd or os.getcwd(),
            "environment": dict(os.environ) if environment is None else environment,
            "path": sys.path,
        }
        self.returncode: int | None = None
        self._status, write = os.pipe()
        try:
            self.pid = _order(json.dumps(order).encode(), [stdin, stdout, stderr, write])
        finally:
            os.close(write)

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._collect(0.0)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit status."""
        status = self._collect(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.send_signal(signal.SIGKILL)

    def _collect(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 16))
            os.close(self._status)
        return self.returncode


_lock = threading.Lock()
_server: socket.socket | None = None


def _order(order: bytes, descriptors: list[int]) -> int:
    global _server
    with _lock:
        if _server is None:
            _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            _server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
            with theirs:
                forker = subprocess.Popen(
                    [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                )
            atexit.register(_end, _server, forker)
        socket.send_fds(_server, [order], descriptors)
        return int(_server.recv(16))


def _end(server: socket.socket, forker: subprocess.Popen[bytes]) -> None:
    server.close()
    forker.wait()


# The process that forks


def main() -> None:
    """Fork until there is nobody to order it; has one thread."""
    import twisted.internet.epollreactor  # noqa: F401  # not the reactor, which is each one's own

    import broker.cli
    import broker.service  # noqa: F401

    orders = socket.socket(fileno=int(sys.argv[1]))
    bell, rung = socket.socketpair()
    rung.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(rung.fileno(), warn_on_full_buffer=False)
    statuses: dict[int, int] = {}  # pid → where its exit status is told
    while True:
        ready = select.select([orders, bell], [], [])[0]
        if bell in ready:
            bell.recv(1024)
            _bury(statuses)
        if orders in ready:
            order, descriptors, _, _ = socket.recv_fds(orders, LONGEST, 4)
            if not order:
                return
            pid = os.fork()
            if pid == 0:
                for each in (orders, bell, rung):
                    each.close()
                for status in statuses.values():
                    os.close(status)
                _become(json.loads(order), descriptors)
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            statuses[pid] = descriptors[3]
            orders.send(str(pid).encode())


def _bury(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        descriptor = statuses.pop(pid)
        os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(descriptor)


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Be the program that was ordered, to its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    more = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [path for path in more if path and path not in order["path"]] + order["path"]
    sys.argv[:] = ["-c", *order["arguments"]]
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = open(number, "wb", buffering=0, closefd=False)  # noqa: SIM115
        setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8", write_through=True))
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 0
    try:
        exec(compile(order["code"], "<string>", "exec"), vars(program))
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    os._exit(status)


if __name__ == "__main__":
    main()
