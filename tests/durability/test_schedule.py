"""What is scheduled costs disk, not memory; what is due in one moment comes in order, each once."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import MB, choose_seed, frames
from tests.harness import Client

LONG = [pytest.mark.long, pytest.mark.timeout(2400)]
#: How many, and the seconds that sending them may take.
COUNTS = [
    pytest.param(8_000, 10, marks=pytest.mark.timeout(300)),
    pytest.param(100_000, 60, marks=LONG),
    pytest.param(1_000_000, 800, marks=LONG),
]
CHUNK = 1000


def schedule(client: Client, moments: list[int], size: int = 200) -> None:
    """Send a message of `size` bytes for each moment, with its number; return when all are on disk."""
    head = b"SEND\ndestination:/queue/a\ncontent-length:%d\nAMQ_SCHEDULED_TIME:%d\n\n%0*d\0"
    for start in range(0, len(moments), CHUNK):
        some = range(start, min(start + CHUNK, len(moments)))
        client.write(b"".join([head % (size, moments[n], size, n) for n in some]))
        client.send("SEND", destination="/queue/marks", receipt=str(start))
        if start >= 5 * CHUNK:
            client.expect("RECEIPT", receipt_id=str(start - 5 * CHUNK))
    for start in range(max(0, (len(moments) - 1) // CHUNK - 4), (len(moments) - 1) // CHUNK + 1):
        client.expect("RECEIPT", receipt_id=str(start * CHUNK))


@pytest.mark.parametrize(("count", "seconds"), COUNTS)
def test_many_that_are_due_in_the_same_second(
    count: int, seconds: int, start_broker: StartBroker, connect: Connect
) -> None:
    """Sent in any order, killed in between: all come when they are due, in that order, at flat memory."""
    random.seed(choose_seed())
    broker = start_broker()
    before = broker.memory()
    due = int((time.time() + seconds) * 1000)
    moments = [due + random.randrange(1000) for _ in range(count)]
    began = time.perf_counter()
    schedule(connect(broker), moments)
    took = time.perf_counter() - began
    print(f"{count} scheduled in {took:.1f} s; {broker.memory() / MB:.0f} MB")
    assert broker.memory() < before + 60 * MB
    broker.kill()
    began = time.perf_counter()
    broker = start_broker()
    client = connect(broker)
    print(f"started in {time.perf_counter() - began:.1f} s; {broker.memory() / MB:.0f} MB")
    client.send("SUBSCRIBE", destination="/queue/a", id_="1")
    assert int(time.time() * 1000) < due, "the machine is too slow for this"
    client.socket.settimeout(seconds + 30)
    incoming = frames(client)
    seen = bytearray(count)
    last = 0
    for done in range(count):
        number = int(next(incoming).body)
        if not done:
            late = time.time() * 1000 - moments[number]
            print(f"the first is {late:.0f} ms late")
            assert late >= 0
        assert not seen[number]
        seen[number] = 1
        assert moments[number] >= last
        last = moments[number]
    late = time.time() * 1000 - last
    print(f"the last is {late:.0f} ms late; {broker.memory() / MB:.0f} MB")
    assert broker.memory() < before + 80 * MB


@pytest.mark.parametrize(("count", "seconds"), COUNTS)
def test_many_that_are_far_away(
    count: int, seconds: int, start_broker: StartBroker, connect: Connect
) -> None:
    """They do not delay what is due now, and one order takes them all back."""
    random.seed(choose_seed())
    broker = start_broker()
    before = broker.memory()
    far = int((time.time() + 86_400) * 1000)
    client = connect(broker)
    schedule(client, [far + random.randrange(10**9) for _ in range(count)])
    broker.kill()
    broker = start_broker()
    client = connect(broker)
    client.send("SUBSCRIBE", destination="/queue/b", id_="1")
    delays = []
    for _ in range(10):
        moment = int(time.time() * 1000) + 50
        headers = {"destination": "/queue/b", "AMQ_SCHEDULED_TIME": str(moment)}
        client.write(Frame("SEND", headers).encode("1.2"))
        client.expect("MESSAGE")
        delays.append(time.time() * 1000 - moment)
    print(f"at most {max(delays):.0f} ms late; {broker.memory() / MB:.0f} MB")
    assert broker.memory() < before + 60 * MB
    management = "/topic/ActiveMQ.Scheduler.Management"
    headers = {"destination": management, "AMQ_SCHEDULER_ACTION": "REMOVEALL", "receipt": "removed"}
    client.write(Frame("SEND", headers).encode("1.2"))
    client.expect("RECEIPT", receipt_id="removed")
    print(f"removed; {broker.memory() / MB:.0f} MB")
    assert broker.memory() < before + 80 * MB


@pytest.mark.long
@pytest.mark.timeout(150)
def test_every_minute(start_broker: StartBroker, connect: Connect) -> None:
    """A cron text, in the local time zone: in its next minute, not before."""
    broker = start_broker()
    client = connect(broker)
    client.send("SUBSCRIBE", destination="/queue/a", id_="1")
    moment = datetime.now() + timedelta(minutes=1 + (datetime.now().second >= 57))
    moment = moment.replace(second=0, microsecond=0)
    text = f"{moment.minute} {moment.hour} * * *"
    headers = {"destination": "/queue/a", "AMQ_SCHEDULED_CRON": text}
    client.write(Frame("SEND", headers, b"tick").encode("1.2"))
    assert client.frame(90).body == b"tick"
    assert 0 <= (datetime.now() - moment).total_seconds() < 10
