"""Remote calls leave no memory behind: not with who calls, nor with who is called, nor in the broker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.ways import MB
from tests.processes import Process, WorkerProcess

LONG = [pytest.mark.long, pytest.mark.timeout(900)]
CALLS = [100_000, pytest.param(1_000_000, marks=LONG)]
SINGLE = 10  # one of so many calls is not in a batch

WORKER = """
@worker.method
def add(a: int, b: int = 1) -> int:
    return a + b
@worker.method(idempotent=True)
def once(value: str) -> str:
    return value
@worker.method
def fails():
    raise LookupError("gone")
"""
#: Batches, and single calls with 64 under way; some of them fail, some are cancelled, some have keys.
CLIENT = """
import re, sys
from collections import deque
import rpc
client = rpc.Client(sys.argv[1], "calls")
def drive(calls):
    for number, result in enumerate(client.map("add", range(calls))):
        assert result == number + 1
    pending = deque()
    for number in range(calls // int(sys.argv[2])):
        kind = number % 4
        if kind == 3:
            client.submit("add", number).cancel()
            continue
        pending.append(client.submit(*(("add", number), ("once", "x"), ("fails",))[kind]))
        if len(pending) == 64:
            pending.popleft().exception()
    for call in pending:
        call.exception()
for line in sys.stdin:
    drive(int(line))
    print("done", client.stats().pending, flush=True)
"""


def memory(pid: int) -> int:
    """Return what a process has for itself, in bytes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("face", ["rpc", "rpc.aio", "rpc.tx"])
def test_calls(calls: int, face: str, start_broker: StartBroker) -> None:
    if face != "rpc" and calls == CALLS[0]:
        calls //= 4
    broker = start_broker()
    options = "results=rpc.MemoryResults(time.monotonic, most=1000)"
    with (
        WorkerProcess(broker.url, "calls", WORKER, 64, face=face, options=options) as worker,
        Process("-c", CLIENT, broker.url, str(SINGLE)) as client,
    ):
        pids = {"client": client.pid, "worker": worker.pid, "broker": broker.process.pid}

        def drive(count: int) -> None:
            client.write(f"{count}\n")
            client.wait_for_line("^done 0$", patience=60 + count / 1000)

        drive(50_000)  # what grows with the first of them is not the calls
        before = {name: memory(pid) for name, pid in pids.items()}
        drive(calls)
        grown = {name: memory(pid) - before[name] for name, pid in pids.items()}
        told = ", ".join(f"{name} {more / 1000:.0f} kB" for name, more in grown.items())
        print(f"{calls} calls of {face}: {told} more, from {before}")
        assert max(grown.values()) < 4 * MB, told
