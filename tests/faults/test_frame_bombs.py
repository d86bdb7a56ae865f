"""Fault 10: frames made to fill the memory of whoever reads them. Each ends at a limit, with an ERROR."""

from __future__ import annotations

import select
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.ways import MB
from tests.faults.launching import Start
from tests.harness import BrokerProcess, Client
from tests.scenarios.steps import is_served

BODY = 4 * MB
MORE = 2 * BODY + 4 * MB  # bytes: what has come, once more while it grows, and buffers
LIMITS: dict[str, object] = {
    "max_body": BODY,
    "max_header_line": 64 * 1024,
    "max_header_block": 256 * 1024,
    "max_headers": 1000,
    "max_connect_frame": 64 * 1024,
}
GIGABYTE = 1000 * MB
SEND = b"SEND\ndestination:/queue/a\n"


@dataclass(frozen=True)
class Bomb:
    """A head, then the same again and again until the broker has enough."""

    head: bytes
    chunk: bytes = b""
    times: int = 0
    harmless: bool = False  # it may be as long as it likes, for it costs nothing


BOMBS = {
    "10,000 headers": Bomb(SEND + b"".join(b"h%d:x\n" % n for n in range(10_000)) + b"\n\0"),
    "headers without end": Bomb(SEND, b"a:b\n" * 10_000, GIGABYTE // 40_000),
    "a header line without end": Bomb(SEND + b"a:", b"x" * MB, 1000),
    "a command without end": Bomb(b"", b"S" * MB, 1000),
    "no NUL for a gigabyte": Bomb(SEND + b"\n", b"x" * MB, 1000),
    "a gigabyte as announced": Bomb(SEND + b"content-length:999999999\n\n", b"x" * MB, 1000),
    "content-length 2^63": Bomb(SEND + b"content-length:9223372036854775808\n\n"),
    "content-length -1": Bomb(SEND + b"content-length:-1\n\n\0"),
    "content-length 1e9": Bomb(SEND + b"content-length:1e9\n\n\0"),
    "content-length of a million digits": Bomb(SEND + b"content-length:", b"9" * MB, 1),
    "escapes without end": Bomb(SEND + b"a:", b"\\c" * (MB // 2), 1000),
    "a million LFs": Bomb(b"", b"\n" * MB, 1, harmless=True),
    "a million NULs": Bomb(b"", b"\0" * MB, 1, harmless=True),
}


def throw(client: Client, bomb: Bomb) -> None:
    """Send it until it is all sent or the broker answers."""
    for data in (bomb.head, *repeat(bomb.chunk, bomb.times)):
        view = memoryview(data)
        while view:
            readable, writable, _ = select.select([client.socket], [client.socket], [], 10)
            assert readable or writable, "the broker neither reads nor answers"
            if readable:
                return
            view = view[client.socket.send(view[:65536]) :]
    with suppress(ConnectionError):  # if it was taken, this is the next frame
        client.write(b"BEGIN\ntransaction:t\nreceipt:it was taken\n\n\0")


def bombs(start: Start) -> str:
    """Throw all of them, before and after the login; return what was seen."""
    broker = start("memory:", **LIMITS)
    most = 0
    with broker.connect() as bystander:
        for name, bomb in BOMBS.items():
            for version in (None, "1.0", "1.1", "1.2"):
                before = peak(broker)
                with Client(broker.port, version) as client:
                    throw(client, bomb)
                    grown = peak(broker) - before
                    assert grown < MORE, f"{name}: {grown / MB:.0f} MB more"
                    most = max(most, grown)
                    if not bomb.harmless:
                        assert client.expect("ERROR").headers["message"], name
                        client.expect_closed()
                    elif version is not None:
                        client.expect("RECEIPT", receipt_id="it was taken")
                assert is_served(bystander), name
    assert broker.stop() == 0
    return f"{4 * len(BOMBS)} bombs, at most {most / MB:.1f} MB more, limit {BODY / MB:.0f} MB"


def peak(broker: BrokerProcess) -> int:
    """Return the most memory that it has had since this was asked before, in bytes; begin anew."""
    found = broker.memory("VmHWM")
    Path(f"/proc/{broker.process.pid}/clear_refs").write_text("5")
    return found


def test_frame_bombs(start_broker: StartBroker) -> None:
    """Closed with an ERROR at the limit; memory grows by hardly more than twice the limit; others are served."""
    print(bombs(start_broker))


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_frame_bombs_with_the_limits_of_an_installation(start_broker: StartBroker) -> None:
    """The same with nothing set: a gigabyte without an end is refused at `max_body`."""
    broker = start_broker("memory:")
    with broker.connect() as bystander:
        for name, bomb in BOMBS.items():
            with broker.connect() as client:
                throw(client, bomb)
                if not bomb.harmless:
                    assert client.expect("ERROR").headers["message"], name
                    client.expect_closed()
            assert is_served(bystander), name
    print(f"at most {broker.memory('VmHWM') / MB:.0f} MB of RSS")
