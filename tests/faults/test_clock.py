"""Fault 13: somebody sets the clock on the wall, or it runs too fast, while the broker works."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.faults.clocks import WrongClock
from tests.faults.launching import Start, broken
from tests.harness import BrokerProcess, Client, Closed
from tests.scenarios.steps import accepted, drain, put

DAY = 86_400.0
MOVES: dict[str, Callable[[WrongClock], None]] = {
    "a day forward": lambda clock: clock.move(DAY),
    "a day back": lambda clock: clock.move(-DAY),
    "ten times as fast": lambda clock: clock.run(10.0),
}
BEAT = 0.5  # seconds; both ways
LATER = 1.5  # seconds that messages are given back for, and scheduled for
SLACK = 5.0  # seconds; this machine may be busy
KEPT, LATE = "/queue/kept", "/queue/late"


class Attendant:
    """Clients that beat, and note how long the broker was silent."""

    def __init__(self, *clients: Client) -> None:
        self.clients = clients
        self.longest = 0.0
        self._heard = dict.fromkeys(clients, time.monotonic())

    def beat(self, seconds: float, until: Callable[[], bool]) -> None:
        """Send and read heart-beats for a while, or until something is so. Raises `Closed`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            for client in self.clients:
                client.write(b"\n")
            sockets = {client.socket: client for client in self.clients}
            ready, _, _ = select.select([*sockets], [], [], BEAT / 3)
            for each in ready:
                client = sockets[each]
                if not client.socket.recv(1000):
                    raise Closed
                now = time.monotonic()
                self.longest = max(self.longest, now - self._heard[client])
                self._heard[client] = now
        now = time.monotonic()
        self.longest = max(self.longest, *(now - heard for heard in self._heard.values()))


def come_later(client: Client) -> dict[str, float]:
    """Give one message back for a while, and schedule another; return when each is due."""
    put(client, LATE, b"given back")
    client.send("SUBSCRIBE", destination=LATE, id_="1", ack="client-individual")
    message = client.expect("MESSAGE")
    delay = str(int(LATER * 1000))
    accepted(client.ask("NACK", id_=message.headers["ack"], requeue="true", delay=delay))
    headers = {"destination": LATE, "AMQ_SCHEDULED_DELAY": delay, "receipt": "scheduled"}
    client.write(Frame("SEND", headers, b"scheduled").encode("1.2"))
    client.expect("RECEIPT")
    return dict.fromkeys(("given back", "scheduled"), time.monotonic() + LATER)


def clock(start: Start, directory: Path, move: str) -> str:
    """Let everything go on that goes by a clock, then move it; return what was seen."""
    wrong = WrongClock(directory / "clock")
    broker = start(launch=broken(f"clock={wrong.path}"), sweep_every=0.2)
    ms = f"{BEAT * 1000:.0f}"
    with ExitStack() as clients:
        enter = clients.enter_context
        client, late = enter(broker.connect()), enter(broker.connect())
        beating = [enter(broker.connect(**{"heart-beat": f"{ms},{ms}"})) for _ in range(3)]
        expires = str(int((wrong.read() + 3600) * 1000))
        put(client, KEPT, *(b"%d" % number for number in range(50)), expires=expires)
        due = come_later(late)
        silent = enter(broker.connect(**{"heart-beat": f"{ms},0"}))
        attendant = Attendant(*beating)
        attendant.beat(BEAT, lambda: False)
        MOVES[move](wrong)
        arrived: dict[str, float] = {}

        def look() -> bool:
            with suppress(TimeoutError):
                arrived[late.frame(0.0).body.decode()] = time.monotonic()
            return len(arrived) == len(due)

        try:
            attendant.beat(LATER + SLACK, look)
        except (Closed, ConnectionError):
            raise AssertionError("a client that beats was given up") from None
        assert attendant.longest < BEAT + SLACK / 2, f"no heart-beat for {attendant.longest:.1f} s"
        assert arrived.keys() == due.keys(), f"of {[*due]} only {[*arrived]} came"
        for what, moment in arrived.items():
            early = due[what] - moment
            assert early < 0.2, f"{what}: {early:.1f} s early"
        silent.expect_closed()
        there = drain(client, KEPT)
        assert len(there) == 50, f"{50 - len(there)} of 50 messages expired an hour early"
        ids = identify(broker)
    assert broker.stop() == 0
    return (
        f"{move}: 50 messages kept, {len(ids)} ids, longest silence {attendant.longest:.1f} s,"
        f" late by {max(arrived[what] - due[what] for what in due):.2f} s"
    )


def identify(broker: BrokerProcess) -> set[str]:
    """Send messages; their ids must all be different and in order."""
    with broker.connect() as client:
        client.send("SUBSCRIBE", destination="/queue/ids", id_="1")
        put(client, "/topic/nobody", b"")
        ids = []
        for _ in range(20):
            client.send("SEND", destination="/queue/ids")
            ids.append(client.expect("MESSAGE").headers["message-id"])
    numbers = [int(each.rpartition("-")[2]) for each in ids]
    assert numbers == sorted({*numbers})
    return {*ids}


@pytest.mark.parametrize("move", MOVES)
def test_the_clock_is_moved(move: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """Nobody is given up, nothing is gone, and what is due soon comes then, not at once and not tomorrow."""
    print(clock(start_broker, tmp_path, move))
