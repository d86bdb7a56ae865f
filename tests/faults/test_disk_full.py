"""Fault 4: the disk is full. On a real one that the broker sees fill up, and on one that fails without a warning.

The first needs a file system of its own (a tmpfs, in a mount namespace), the second only a limit on the size of a
file, which the kernel enforces for everybody. durability/test_full_store.py has the limit of the store itself.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.crowd import GONE
from tests.durability.test_full_store import FULL, fill_up, number_of, subscribe
from tests.durability.ways import MB, STORES
from tests.durability.ways import drain as drain_queue
from tests.faults.launching import Start, inside
from tests.harness import DEADLINE, Client

DISK = 24 * MB
HEADROOM = MB // 2  # bytes until writes fail without a warning


@contextmanager
def own_disk(directory: Path, size: int) -> Iterator[int]:
    """Mount a tmpfs where only the broker sees it, and tell the process in whose world it is."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = f"mount -t tmpfs -o size={size} tmpfs {directory} && echo mounted && exec cat"
    holder = subprocess.Popen(
        ["unshare", *user, "--mount", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.fail("this fault needs a disk of its own: run as root, or allow user namespaces")
        yield holder.pid
    finally:
        holder.communicate()


def drain(client: Client, taken: list[int]) -> None:
    """Consume all of it."""
    subscribe(client, 100)
    for number in taken:
        message = client.expect("MESSAGE")
        assert number_of(message) == number
        client.send("ACK", id_=message.headers["ack"])
    assert client.ask("UNSUBSCRIBE", id_="1").command == "RECEIPT"


def disk_full(start: Start, store: str, tmp_path: Path) -> str:
    """Fill a disk until SEND is refused, start again on it, drain it, fill it again; return what was seen."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with own_disk(disk, DISK) as holder:
        url = STORES[store].format(disk)
        broker = start(url, inside(holder))
        with broker.connect() as client:
            try:
                taken = fill_up(client, 1500)
            except GONE:
                raise AssertionError("the disk is full, and nobody was refused") from None
        broker.kill()
        broker = start(url, inside(holder))
        with broker.connect() as client:
            refused = client.ask("SEND", bytes(1500), destination="/queue/a")
            assert refused.headers["message"] == FULL
            drain(client, taken)
            again = fill_up(client, 1500)
        assert broker.stop() == 0
        assert len(again) > 0.8 * len(taken)
        acked = last_byte(start, store, disk, url, holder)
    return (
        f"{store}: {len(taken)} messages on {DISK // MB} MB, then refused; drained on the full disk;"
        f" {len(again)} taken again; {acked} acknowledged without a free byte"
    )


def last_byte(start: Start, store: str, disk: Path, url: str, holder: int) -> int:
    """Somebody else takes what the broker had left free; return how many messages can be acknowledged then."""
    broker = start(url, inside(holder))
    hog = Path(f"/proc/{holder}/root{disk}/hog")
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    acked = 0
    with (
        suppress(*GONE),
        broker.connect() as client,
    ):  # SQLite cannot delete without room for its log
        refused = client.ask("SEND", bytes(1500), destination="/queue/a")
        assert refused.headers["message"] == FULL
        subscribe(client, 100)
        for _ in range(1000):
            message = client.expect("MESSAGE")
            client.send("ACK", id_=message.headers["ack"])
            acked += 1
        client.send("UNSUBSCRIBE", id_="1", receipt="end")
        while client.frame().command != "RECEIPT":
            pass
    hog.unlink()
    if broker.process.poll() is None:
        assert broker.stop() in (0, 1)
    assert store != "lmdb" or acked == 1000
    broker = start(url, inside(holder))
    with broker.connect() as client:
        if client.ask("SEND", b"x", destination="/queue/b").command != "RECEIPT":
            assert sum(1 for _ in drain_queue(client, "/queue/a")) > 0
    broker.kill()
    return acked


@pytest.mark.faults
@pytest.mark.parametrize("store", STORES)
def test_a_full_disk(store: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """SEND is refused in time, what is there can be consumed, then there is room again."""
    print(disk_full(start_broker, store, tmp_path))


def no_warning(start: Start, store: str, tmp_path: Path) -> str:
    """Let writes fail though there seemed to be room; return what was seen."""
    url = STORES[store].format(tmp_path)
    broker = start(url)
    before = sorted(tmp_path.rglob("*.mdb") if store == "lmdb" else tmp_path.glob("hoof.db*"))
    size = max(file.stat().st_size for file in before) + HEADROOM
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (size, size))
    confirmed = []
    with broker.connect() as client, suppress(*GONE):
        for number in range(2 * HEADROOM // 1500):
            body = (b"%d" % number).ljust(1500)
            answer = client.ask("SEND", body, destination="/queue/a")
            assert answer.command == "RECEIPT"
            confirmed.append(number)
    if broker.process.poll() is None and len(confirmed) > HEADROOM // 1500:
        broker.kill()  # it says that it has what it cannot have; who knows better?
    else:
        assert broker.process.wait(DEADLINE) in (1, -signal.SIGXFSZ)
    broker = start(url)
    with broker.connect() as client:
        there = {number_of(message) for message in drain_queue(client, "/queue/a")}
    lost = {*confirmed} - there
    assert not lost, f"{len(lost)} of {len(confirmed)} receipted messages are lost"
    broker.kill()
    return f"{store}: {len(confirmed)} confirmed until a write failed, all of them there"


@pytest.mark.parametrize("store", STORES)
def test_a_disk_that_fails_without_a_warning(
    store: str, start_broker: StartBroker, tmp_path: Path
) -> None:
    """The broker ends before it gives a receipt for what could not be written; all others hold."""
    print(no_warning(start_broker, store, tmp_path))
