"""Fault 8: a million messages wait, and the broker may use 256 MB, page cache included."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.ways import MB, fill, frames, take
from tests.faults.launching import Start
from tests.harness import BrokerProcess

LIMIT = 256 * MB
MOST = 150 * MB  # of it that are not page cache
QUEUE = "/queue/million"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Cell:
    """Keeps the memory of processes within a limit: a control group of either kind, or what any process has."""

    def __init__(self, group: Path | None) -> None:
        self._group = group
        self.kind = f"control group {group}" if group else "RLIMIT_DATA"

    def hold(self, broker: BrokerProcess) -> BrokerProcess:
        """Put a broker into it."""
        if self._group is None:
            resource.prlimit(broker.process.pid, resource.RLIMIT_DATA, (LIMIT, LIMIT))
        else:
            (self._group / "cgroup.procs").write_text(str(broker.process.pid))
        return broker

    def most(self) -> str:
        """Return what it held at most, for reading."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if self._group is not None and (self._group / name).exists():
                return f"{int((self._group / name).read_text()) / MB:.0f} MB with page cache"
        return "page cache not counted"


def groups() -> Iterator[tuple[Path, str]]:
    """Yield where a control group of our own may be made: its directory, the file of the limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, place = line.split(":", 2)
        name = f"hoofbeat-{os.getpid()}"
        if kinds == "":
            yield Path("/sys/fs/cgroup") / place.lstrip("/") / name, "memory.max"
        elif "memory" in kinds.split(","):
            for base in (
                Path("/sys/fs/cgroup/memory") / place.lstrip("/"),
                Path("/sys/fs/cgroup/memory"),
            ):
                yield base / name, "memory.limit_in_bytes"


@contextmanager
def cell() -> Iterator[Cell]:
    """Make the best cell that this machine allows."""
    group = make_group()
    try:
        yield Cell(group)
    finally:
        if group is not None:
            for pid in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(pid)
            group.rmdir()


def make_group() -> Path | None:
    """Make a control group with the limit, where this machine allows it."""
    for group, limit in groups():
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(LIMIT))
            except OSError:
                group.rmdir()
                raise
            return group
    return None


def little_memory(start: Start, count: int) -> str:
    """Fill, kill, start, drain, all within the limit; return what was seen."""
    with cell() as limited:
        broker = limited.hold(start())
        most = 0
        with broker.connect() as producer:
            for _ in range(10):
                fill(producer, QUEUE, count // 10)
                most = max(most, broker.memory())
                assert most < MOST, f"{most / MB:.0f} MB of RssAnon"
        broker.kill()
        began = time.monotonic()
        broker = limited.hold(start())
        with broker.connect() as client:
            took = time.monotonic() - began
            assert took < 2, f"{took:.1f} s until the first client was in"
            client.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client")
            incoming = frames(client)
            for _ in range(10):
                take(client, incoming, range(count // 10))
                most = max(most, broker.memory())
                assert most < MOST, f"{most / MB:.0f} MB of RssAnon"
        assert broker.stop() == 0
        return (
            f"{count} messages in {LIMIT // MB} MB ({limited.kind}): RssAnon at most {most / MB:.0f} MB,"
            f" {limited.most()}; {took:.2f} s from the kill to the first client"
        )


def test_a_million_messages_in_little_memory(start_broker: StartBroker) -> None:
    """Nobody runs out of memory, and a start takes no time."""
    print(little_memory(start_broker, 1_000_000))
