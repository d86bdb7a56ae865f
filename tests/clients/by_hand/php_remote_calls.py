"""The programs in examples/php: called from Python, calling Python. Usage: python php_remote_calls.py PORT."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import rpc

EXAMPLES = Path(__file__).parents[3] / "examples"
PORT = sys.argv[1] if len(sys.argv) > 1 else "61613"
URL, TCP = f"stomp://127.0.0.1:{PORT}", f"tcp://127.0.0.1:{PORT}"
failed = 0


def check(what: str, ok: bool) -> None:
    global failed
    print("ok  " if ok else "FAIL", what, flush=True)
    failed += not ok


@contextlib.contextmanager
def running(*command: str) -> Iterator[IO[str]]:
    """Start a worker; return its output, behind its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        check(f"{Path(command[-2]).name} is ready", "ready" in process.stdout.readline())
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def error_of(client: rpc.Client, *call: Any) -> rpc.RpcError | None:
    """Return what a call fails with."""
    try:
        client.call(*call, timeout=5)
    except rpc.RpcError as error:
        return error
    return None


def python_calls_php() -> None:
    with (
        running("php", str(EXAMPLES / "php/worker.php"), TCP) as output,
        rpc.Client(URL, service="demo") as client,
    ):
        check("a call", client.call("whee", "Hello") == {"Whee": 123})
        check("it was run", output.readline().endswith(": Hello\n"))
        check("by name", client.call("divide", b=2, a=9) == 4.5)
        error = error_of(client, "nothing")
        check("no such function", isinstance(error, rpc.MethodNotFound))
        error = error_of(client, "divide", 1)
        check("an argument is missing", isinstance(error, rpc.InvalidParams))
        error = error_of(client, "divide", 1, "x")
        check("an argument is wrong", isinstance(error, rpc.InvalidParams))
        error = error_of(client, "divide", 1, 0)
        known = isinstance(error, rpc.RemoteError) and error.type == "DivisionByZeroError"
        check("an exception", known)
        client.notify("whee", "By the way")
        check("a notification", output.readline().endswith(": By the way\n"))
        halves = list(client.map("divide", range(250), [2] * 250))
        check("batches", halves == [n / 2 for n in range(250)])
        [answer] = client.broadcast("rpc.ping", first=1, timeout=5)
        check("a broadcast", answer.worker.startswith("php-") and answer.result() == "pong")
        check("a stream of one", list(client.stream("divide", 1, 2)) == [0.5])
        pending = [client.submit("divide", n, 4) for n in range(100)]
        results = [each.result(5) for each in pending]
        check("a hundred at once", results == [n / 4 for n in range(100)])
        php_calls("PHP", output)
        check("nothing came late", client.stats().late == 0)


def php_calls(whom: str, output: IO[str]) -> None:
    """Let the client call whoever serves, whose output this is."""
    client = subprocess.run(
        ["php", str(EXAMPLES / "php/client.php"), TCP], capture_output=True, text=True, timeout=30
    )
    result, error = client.stdout.splitlines()
    check(f"PHP calls {whom}", client.returncode == 0 and result == 'Result is: {"Whee":123}')
    check(f"PHP is told {whom}'s error", error.startswith("Error -32601: "))
    check(f"{whom} was called", output.readline().endswith(": Hello\n"))
    check(f"{whom} was notified", output.readline().endswith(": By the way\n"))


def main() -> int:
    python_calls_php()
    with running(sys.executable, "-u", str(EXAMPLES / "test_server.py"), URL) as output:
        php_calls("Python", output)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
