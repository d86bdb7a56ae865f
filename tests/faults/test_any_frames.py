"""Fault 9, the whole broker: frames that mean something, put together by chance, by clients that come and go.

fuzz/ does the same to the parser alone, with any bytes. Here each frame is one that the broker knows, with headers
that it reads, whose values are odd; so they get deep. No client may make it fail (a traceback in its log, or its
death), harm a bystander, or leave memory behind.

All that is sent is kept in a file, of which a failure tells. The same seed sends the same.
"""

from __future__ import annotations

import random
import re
import select
import time
from contextlib import suppress
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.ways import MB, choose_seed
from tests.faults.launching import Start
from tests.harness import Client
from tests.scenarios.steps import is_served

SESSIONS = [100, pytest.param(3000, marks=[pytest.mark.faults, pytest.mark.timeout(600)])]
#: What Python's tracebacks look like in the broker's log, with what was said before them.
TRACEBACK = re.compile(r'.*\n +File ".*(?:\n .*)*\n.*')
FRAMES = 12  # of a session, on average

COMMANDS = {
    "SEND": 10,
    "SUBSCRIBE": 5,
    "ACK": 3,
    "NACK": 2,
    "UNSUBSCRIBE": 2,
    "BEGIN": 2,
    "COMMIT": 2,
    "ABORT": 1,
    "DISCONNECT": 0.3,
    "CONNECT": 0.1,
    "MESSAGE": 0.1,
}
DESTINATIONS = (
    *("/queue/a", "/queue/b", "/topic/a", "/topic/a.b", "/queue/>", "/topic/a.*", "/topic/>"),
    *("/temp-queue/x", "/temp-topic/y", "/queue/a,/topic/a", "/queue/VirtualTopic.x", "/queue/"),
    *("/topic/VirtualTopic.a", "/queue/Consumer.x.VirtualTopic.a", "/queue/ActiveMQ.DLQ", ""),
    *(
        "/topic/ActiveMQ.Advisory.>",
        "/queue/ActiveMQ.Statistics.Broker",
        "nowhere",
        "/peer/x/queue/a",
    ),
    *(
        "/topic/ActiveMQ.Scheduler.Management",
        "/queue/rpc.hoofbeat",
        "/queue/rpc.x",
        "/queue/a?b=c",
    ),
    *(
        "/queue/ActiveMQ.Statistics.Destination.a",
        "/exchange/x",
        "/amq/queue/x",
        "/remote-temp-queue/x",
    ),
)
NUMBERS = ("0", "1", "-1", "3", "500", "99999999999999999999", "1e9", "٣", "", " 1 ", "nan", "1.5")
WORDS = (
    "true",
    "false",
    "yes",
    "",
    "\\",
    ":",
    "\n",
    "é",
    "x" * 500,
    "a b",
    "'",
    "%",
    "*",
    ">",
    "..",
)
SELECTORS = (
    *("a = 1", "a LIKE '%x%_'", "a IN ('x', 'y') AND NOT b IS NULL", "a = ", "(((a)))", "1/0 = 1"),
    *("a BETWEEN 1 AND 2 OR b <> 'it''s'", "NOT " * 50 + "TRUE", "JMSPriority > 4", "-a < +1e400"),
)
BODIES = (b"", b"x", b"\0", b"{}", b'{"method": "queues", "params": []}', b"x" * 3000)
#: Headers that the broker reads, and what they may say.
HEADERS: dict[str, tuple[str, ...]] = {
    "destination": DESTINATIONS,
    "id": ("1", "2", "", "1-1", "1-2", "2-1"),
    "subscription": ("1", "2"),
    "message-id": ("1-1", "x"),
    "ack": ("auto", "client", "client-individual", "x"),
    "receipt": ("1", "x" * 300, ""),
    "transaction": ("1", "2", ""),
    "persistent": WORDS,
    "priority": NUMBERS,
    "expires": NUMBERS,
    "selector": SELECTORS,
    "content-length": ("0", "1", "3000"),
    "reply-to": DESTINATIONS,
    "correlation-id": WORDS,
    "type": WORDS,
    "browser": WORDS,
    "exclusive": WORDS,
    "durable": WORDS,
    "retroactive": WORDS,
    "no-local": WORDS,
    "requeue": WORDS,
    "delay": NUMBERS,
    "prefetch-count": NUMBERS,
    "mandatory": WORDS,
    "dedup-id": WORDS,
    "report": ("arrived", "processed,arrived", "all", "x", ""),
    "activemq.prefetchSize": NUMBERS,
    "activemq.priority": NUMBERS,
    "activemq.exclusive": WORDS,
    "activemq.noLocal": WORDS,
    "activemq.subscriptionName": ("s", "t", ""),
    "activemq.retroactive": WORDS,
    "activemq.maximumPendingMessageLimit": NUMBERS,
    "AMQ_SCHEDULED_DELAY": NUMBERS,
    "AMQ_SCHEDULED_PERIOD": NUMBERS,
    "AMQ_SCHEDULED_REPEAT": NUMBERS,
    "AMQ_SCHEDULED_CRON": ("* * * * *", "99 * * * *", "x", ""),
    "AMQ_SCHEDULER_ACTION": ("BROWSE", "REMOVE", "REMOVEALL", "x"),
    "AMQ_SCHEDULER_ACTION_START_TIME": NUMBERS,
    "scheduledJobId": ("job", "1", ""),
    "JMSXGroupID": ("g", "h", ""),
    "JMSXGroupSeq": NUMBERS,
    "a": WORDS,
    "": ("", "x"),
}


def compose(chance: random.Random) -> bytes:
    """Return a frame, or now and then something that is none."""
    [command] = chance.choices([*COMMANDS], [*COMMANDS.values()])
    names = chance.sample([*HEADERS], chance.randint(0, 6))
    for name in ("destination", "id", "transaction"):
        if chance.random() < 0.6:
            names.append(name)
    headers = {name: chance.choice(HEADERS[name]) for name in names}
    body = chance.choice(BODIES) if command == "SEND" or chance.random() < 0.1 else b""
    frame = Frame(command, headers, body).encode(chance.choice(("1.0", "1.1", "1.2")))
    if chance.random() < 0.05:
        at = chance.randrange(len(frame))
        frame = frame[:at] + chance.randbytes(chance.randint(0, 3)) + frame[at + 1 :]
    return frame


def session(port: int, chance: random.Random, kept: list[bytes]) -> int:
    """Connect, say things, go; return how many frames were sent."""
    version = chance.choice(("1.0", "1.1", "1.2"))
    login = {"client-id": chance.choice("xyz")} if chance.random() < 0.3 else {}
    frames = [compose(chance) for _ in range(chance.randint(1, 2 * FRAMES))]
    kept.append(b"--- %s %a\n%b\n" % (version.encode(), login, b"\n".join(frames)))
    refused = (AssertionError, ConnectionError)  # its client-id is in use
    with suppress(*refused), Client(port, version, **login) as client:
        for frame in frames:
            client.write(frame)
            if chance.random() < 0.3 and select.select([client.socket], [], [], 0.001)[0]:
                client.socket.recv(1 << 16)
        if chance.random() < 0.5:
            client.write(b"DISCONNECT\nreceipt:the end\n\n\0")
            end = time.monotonic() + 0.2  # whoever is in the midst of a body gets none
            data = b""
            while b"the end" not in data and time.monotonic() < end:
                if not select.select([client.socket], [], [], 0.05)[0]:
                    continue
                data = client.socket.recv(1 << 16)
                if not data:
                    break
    return len(frames)


def any_frames(start: Start, directory: Path, seed: int, sessions: int) -> str:
    """Let so many clients come and go; return what was seen."""
    chance = random.Random(seed)
    broker = start(sweep_every=0.5, connect_timeout=2.0)
    kept: list[bytes] = []
    sent, before = 0, 0
    try:
        with broker.connect() as bystander:
            for number in range(sessions):
                sent += session(broker.port, chance, kept)
                if number % 10 == 0:
                    assert is_served(bystander), "a bystander is not served"
                    before = before or broker.memory()
            assert is_served(bystander)
        grown = broker.memory() - before
        assert grown < 60 * MB, f"{grown / MB:.0f} MB more"
        assert broker.stop() == 0
        fault = TRACEBACK.search((directory / "broker.log").read_text())
        assert fault is None, f"a fault of ours: {fault[0]}"
    except BaseException:
        file = directory / "frames"
        file.write_bytes(b"".join(kept))
        print(f"HOOFBEAT_SEED={seed}, all that was sent: {file}")
        raise
    return f"{sessions} clients, {sent} frames, {grown / MB:.1f} MB more, no fault of ours"


@pytest.mark.parametrize("sessions", SESSIONS)
def test_any_frames(sessions: int, start_broker: StartBroker, tmp_path: Path) -> None:
    """Whatever clients say: each gets an answer or is hung up on, and nothing else happens."""
    print(any_frames(start_broker, tmp_path, choose_seed(), sessions))
