"""A message and its report: whenever the broker dies, the one is there or the other, and the status knows which."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import choose_seed
from tests.harness import Client
from tests.scenarios.administrator import Administrator
from tests.scenarios.steps import acknowledgement

JOBS, REPORTS = "/queue/jobs", "/queue/reports"
KILLS, EACH = 15, 20


def send(client: Client, ids: range) -> None:
    """Send messages with reports, and wait until all are on disk."""
    for id in ids:
        client.send(
            *("SEND", b""),
            destination=JOBS,
            report="processed,arrived",
            reply_to=REPORTS,
            correlation_id=str(id),
            receipt=str(id),
        )
    for id in ids:
        client.expect("RECEIPT", receipt_id=str(id))


def work(client: Client, waiting: int, chance: random.Random) -> set[str]:
    """Take what waits and acknowledge some of it; return what was confirmed when patience was over."""
    client.send("SUBSCRIBE", destination=JOBS, id_="1", ack="client-individual")
    jobs = [client.expect("MESSAGE") for _ in range(waiting)]
    done = chance.sample(jobs, chance.randint(0, waiting // 2))
    receipts = 0
    confirmed: set[str] = set()
    while done:
        count = chance.randint(1, 5)
        some, done = done[:count], done[count:]
        for job in some:
            id = job.headers["correlation-id"]
            client.send("ACK", **acknowledgement(client, job), receipt=id)
        receipts += len(some)
        for _ in range(chance.randint(0, receipts)):
            confirmed.add(client.expect("RECEIPT").headers["receipt-id"])
            receipts -= 1
    return confirmed


def all_in(admin: Administrator, queue: str) -> list[dict[str, Any]]:
    """Return the headers of all that waits in a queue."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = admin.call("browse", queue, 1000, after)
        found += [message["headers"] for message in page["messages"]]
        after = page["next"]
        if after is None:
            return found


def test_gone_and_reported_or_neither(start_broker: StartBroker, connect: Connect) -> None:
    """Never both, never only one of them, and what was confirmed is reported."""
    chance = random.Random(choose_seed())
    broker, waiting = start_broker(), 0
    confirmed: set[str] = set()
    for kill in range(KILLS):
        send(connect(broker), range(kill * EACH, (kill + 1) * EACH))
        waiting = Administrator(connect(broker)).call("queue", JOBS)["waiting"]
        confirmed |= work(connect(broker), waiting, chance)
        broker.kill()
        broker = start_broker()
    admin = Administrator(connect(broker))
    left = [headers["correlation-id"] for headers in all_in(admin, JOBS)]
    reports = Counter((each["report"], each["correlation-id"]) for each in all_in(admin, REPORTS))
    ids = {str(id) for id in range(KILLS * EACH)}
    done = {id for kind, id in reports if kind == "processed"}
    assert set(reports.values()) == {1}
    assert {id for kind, id in reports if kind == "arrived"} == ids
    assert len(left) == len(set(left))
    assert done.isdisjoint(left)
    assert done.union(left) == ids
    assert confirmed <= done
    print(f"{len(done)} processed, of these {len(confirmed)} confirmed; {len(left)} left")
    known = {id: admin.call("tracked", id)["status"] for id in ids}
    assert {id for id, status in known.items() if status == "PROCESSED"} == done
    assert {known[id] for id in left} <= {"QUEUED", "SENT"}
