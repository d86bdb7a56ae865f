"""A disk that fails ends the broker before it promises anything it does not have."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from tests.conftest import StartBroker
from tests.durability.conftest import Connect, Trouble
from tests.durability.crowd import GONE
from tests.durability.ways import STORES, drain
from tests.harness import DEADLINE

LINE = "the store has failed: [Errno 5] Input/output error"


def test_the_nth_write_fails(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, tmp_path: Path
) -> None:
    """The process ends, non-zero, with one line; what it confirmed is true after a restart.

    Whether the data of a failed write reached the disk nobody can know, so here it does every other time.
    """
    store = STORES["lmdb"].format(tmp_path)
    sent, acked = set(), set()
    for nth in range(1, 9):
        trouble.fail(f"{('before', 'after')[nth % 2]} {nth}")
        broker = start_broker(f"trouble:{store}")
        client = connect(broker)
        work = f"/queue/work {nth}"
        with suppress(*GONE):
            client.send("SUBSCRIBE", destination=work, id_="1", ack="client-individual")
            for number in range(100):
                body = f"{nth} {number}".encode()
                assert client.ask("SEND", body, destination="/queue/kept").command == "RECEIPT"
                sent.add(body)
                client.send("SEND", body, destination=work, receipt="work")
                message = client.expect("MESSAGE")
                client.expect("RECEIPT", receipt_id="work")  # it is on disk: the ACK is a write
                assert client.ask("ACK", id_=message.headers["ack"]).command == "RECEIPT"
                acked.add(body)
        assert broker.process.wait(DEADLINE) == 1
        assert errors(tmp_path) == [LINE] * nth
    with start_broker(store).connect() as survivor:
        there = {message.body for message in drain(survivor, "/queue/kept")}
        back = {m.body for nth in range(1, 9) for m in drain(survivor, f"/queue/work {nth}")}
    assert len(sent) == 12  # the writes of one round are SEND, SEND, ACK
    assert sent <= there
    assert len(acked) == 7
    assert not acked & back


def errors(directory: Path) -> list[str]:
    """Return what brokers logged before they ended by themselves."""
    log = (directory / "broker.log").read_text()
    return re.findall(r"^\S+ \[broker\S+#critical\] (.*)$", log, re.MULTILINE)


def test_a_write_that_fails_while_the_broker_stops(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, tmp_path: Path
) -> None:
    """SIGTERM comes first, the error of the disk second: no receipt, and not exit status 0."""
    trouble.fail("before 2")
    broker = start_broker(f"trouble:{STORES['lmdb'].format(tmp_path)}")
    client = connect(broker)
    assert client.ask("SEND", b"1", destination="/queue/a").command == "RECEIPT"
    client.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client-individual")
    assert client.expect("MESSAGE").body == b"1"  # it goes back when the broker stops: a write
    assert broker.stop() == 1
    client.expect_closed()


def test_the_disk_of_a_virtual_host_fails(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, tmp_path: Path
) -> None:
    """It ends the whole broker, with a line that names the virtual host; the others keep what they confirmed."""
    trouble.fail("before 2")
    shop = {"store": f"trouble:{STORES['lmdb'].format(tmp_path / 'shop')}"}
    store = STORES["lmdb"].format(tmp_path)
    broker = start_broker(store, virtual_host={"shop": shop})
    own, client = connect(broker), broker.connect(host="shop")
    for each in (client, own):
        assert each.ask("SEND", b"1", destination="/queue/a").command == "RECEIPT"
    with suppress(*GONE):
        client.ask("SEND", b"2", destination="/queue/a")
    assert broker.process.wait(DEADLINE) == 1
    client.close()
    assert errors(tmp_path) == [LINE.replace("the store", "virtual host shop: the store")]
    with start_broker(store, virtual_host={"shop": {}}).connect() as survivor:
        assert [message.body for message in drain(survivor, "/queue/a")] == [b"1"]
