"""By hand, as root: a disk that is really full (Linux).

    python -m tests.durability.disk_full [lmdb|sqlite]

Mounts a tmpfs of 24 MB, fills a broker on it until it refuses, kills it, starts it again on the full disk,
gives a hundred messages back, drains it, and fills it once more. Then somebody else fills the disk to the last
byte while the broker has a backlog.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.durability.crowd import GONE
from tests.durability.test_full_store import fill_up, number_of, subscribe
from tests.durability.ways import STORES
from tests.harness import DEADLINE, BrokerProcess, Client

SIZE = "24m"


def main(driver: str) -> None:
    """Mount, try, unmount."""
    with tempfile.TemporaryDirectory() as outside, tempfile.TemporaryDirectory() as disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=True)
        try:
            url = STORES[driver].format(disk)
            refuse_and_recover(lambda: BrokerProcess(url, Path(outside), {}), disk)
            last_byte(lambda: BrokerProcess(url, Path(outside), {}), disk)
        finally:
            print((Path(outside) / "broker.log").read_text())
            subprocess.run(["ls", "-l", disk], check=True)
            subprocess.run(["umount", disk], check=True)


def tell(what: str, disk: str) -> None:
    """Print a step and what is left of the disk."""
    free = subprocess.run(
        ["df", "--output=avail", "-k", disk], check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    print(f"{what}; {free} kB free", flush=True)


def refuse_and_recover(start: Callable[[], BrokerProcess], disk: str) -> None:
    """The broker notices in time, and goes on."""
    broker = start()
    with broker.connect() as client:
        taken = fill_up(client, 1500)
        tell(f"{len(taken)} messages taken, then: The store is full", disk)
    broker.kill()
    broker = start()
    tell("killed and started again", disk)
    with broker.connect() as client:
        subscribe(client, 100)
        for number in taken[:100]:
            assert number_of(client.expect("MESSAGE")) == number
    with broker.connect() as client:
        drain(client, taken)
        assert client.silent()
        tell("given back, and drained", disk)
        again = fill_up(client, 1500)
        tell(f"{len(again)} messages taken again", disk)
    assert broker.stop() == 0


def drain(client: Client, taken: list[int]) -> None:
    """Consume all of it."""
    subscribe(client, 100)
    for number in taken:
        message = client.expect("MESSAGE")
        assert number_of(message) == number
        client.send("ACK", id_=message.headers["ack"])
    assert client.ask("UNSUBSCRIBE", id_="1").command == "RECEIPT"


def last_byte(start: Callable[[], BrokerProcess], disk: str) -> None:
    """Somebody else takes what the broker had left free."""
    broker = start()
    hog = Path(disk) / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            tell(f"somebody else: {error.strerror}", disk)
    acked = 0
    try:
        with broker.connect() as client:
            refused = client.ask("SEND", bytes(1500), destination="/queue/a")
            print("SEND:", refused.command, refused.headers.get("message"))
            subscribe(client, 100_000)
            while True:
                client.send("ACK", id_=client.frame(2.0).headers["ack"])
                acked += 1
    except TimeoutError:
        print(f"{acked} acknowledged on a disk without a free byte")
    except GONE as end:  # SQLite cannot even delete without room for its log
        print(f"{acked} acknowledged, then {end!r}")
    if broker.process.poll() is None:
        print("stopped with", broker.stop())
    else:
        print("ended with", broker.process.wait(DEADLINE))
    hog.unlink()
    broker = start()
    with broker.connect() as client:
        assert client.ask("SEND", b"x", destination="/queue/b").command == "RECEIPT"
        tell("with room again: SEND is taken", disk)
    broker.kill()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lmdb")
