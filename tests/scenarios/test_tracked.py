"""What became of a message, asked by its sender or an administrator: methods of the broker's own service."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.harness import PASSCODE, Client, write_users
from tests.scenarios.administrator import (
    FORBIDDEN,
    INVALID_PARAMS,
    REPLIES,
    Administrator,
    Fault,
)
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, ack, acknowledgement, nack, put, subscribe, take

JOBS = "/queue/jobs"

_numbers = count(1)


@pytest.fixture
def admin(connect: Connect) -> Administrator:
    """Return somebody who may ask of everything."""
    return Administrator(connect())


@pytest.fixture
def id() -> str:
    """Return a correlation-id that nobody else uses."""
    return f"tracked-{next(_numbers)}"


def status(asker: Administrator, id: str) -> str:
    """Return the status of a message."""
    found: str = asker.call("tracked", id)["status"]
    return found


def fails(asker: Administrator, code: int, text: str, method: str, *params: Any) -> None:
    """Check that a call ends in an error with a code and a text."""
    with pytest.raises(Fault, match=text) as caught:
        asker.call(method, *params)
    assert caught.value.code == code


def pages(admin: Administrator, **named: Any) -> list[dict[str, Any]]:
    """Return all that `tracked_messages` shows, page by page."""
    page: dict[str, Any] = {"next": None}
    found: list[dict[str, Any]] = []
    while not found or page["next"]:
        page = admin.call("tracked_messages", after=page["next"], **named)
        found += page["messages"]
    return found


def test_from_queued_to_processed(
    connect: Connect, admin: Administrator, queue: str, id: str
) -> None:
    sender, worker, began = connect(), connect(client_id=f"of {queue}"), time.time() * 1000
    put(sender, queue, b"job", report="processed", correlation_id=id)
    assert status(admin, id) == "QUEUED"
    subscribe(worker, queue, ack="client-individual")
    [job] = take(worker, 1)
    assert status(admin, id) == "SENT"
    accepted(ack(worker, job))
    found = admin.call("tracked", id)
    [part] = found["parts"]
    assert began - 1000 < found["sent"] <= found["changed"] == part.pop("changed")
    assert (found["id"], found["status"]) == (id, "PROCESSED")
    assert part == {
        "destination": queue,
        "message_id": job.headers["message-id"],
        "persistent": True,
        "status": "PROCESSED",
        "by": f"of {queue}",
        "cause": None,
    }


def test_what_is_given_back_stays_sent_and_a_refusal_tells_why(
    connect: Connect, admin: Administrator, queue: str, id: str
) -> None:
    client = connect()
    put(client, queue, b"job", report="failed", correlation_id=id, persistent="false")
    subscribe(client, queue, ack="client-individual")
    [job] = take(client, 1)
    client.send("NACK", id_=job.headers["ack"], requeue="true")
    [job] = take(client, 1)
    assert status(admin, id) == "SENT"
    accepted(nack(client, job, reason="no such customer"))
    [part] = admin.call("tracked", id)["parts"]
    assert (part["status"], part["cause"]) == ("FAILED", "no such customer")
    assert part["persistent"] is False


def test_of_several_destinations_each_has_a_part(
    connect: Connect, admin: Administrator, queue: str, id: str
) -> None:
    """All of it is as far as the part that is least far, and failed if one has."""
    client, both = connect(), f"{queue}.a,{queue}.b"
    put(client, both, b"job", report="processed", correlation_id=id)
    subscribe(client, f"{queue}.a", id="a", ack="client-individual")
    [job] = take(client, 1)
    accepted(ack(client, job))
    found = admin.call("tracked", id)
    assert found["status"] == "QUEUED"
    told = [(part["destination"], part["status"]) for part in found["parts"]]
    assert told == [(f"{queue}.a", "PROCESSED"), (f"{queue}.b", "QUEUED")]
    admin.call("purge", f"{queue}.b")
    assert status(admin, id) == "FAILED"


def test_without_a_correlation_id_it_is_found_by_its_message_id(
    connect: Connect, admin: Administrator, queue: str
) -> None:
    client = connect()
    put(client, queue, b"job", report="processed")
    subscribe(client, queue)
    [job] = take(client, 1)
    assert status(admin, job.headers["message-id"]) == "PROCESSED"


@pytest.mark.parametrize("killed", [False, True])
def test_it_is_known_after_a_restart(
    start_broker: StartBroker, connect: Connect, killed: bool
) -> None:
    """And what waited then goes on to its end."""
    broker = start_broker()
    client = connect(to=broker)
    put(client, JOBS, b"1", b"2", report="processed", correlation_id="c-1")
    subscribe(client, JOBS, ack="client-individual")
    done, _ = take(client, 2)
    accepted(ack(client, done))
    if killed:
        broker.kill()
    else:
        assert broker.stop() == 0
    broker = start_broker()
    admin, client = Administrator(connect(to=broker)), connect(to=broker)
    assert [part["status"] for part in admin.call("tracked", "c-1")["parts"]] == [
        "PROCESSED",
        "SENT",
    ]
    subscribe(client, JOBS, ack="client-individual")
    [rest] = take(client, 1)
    accepted(ack(client, rest))
    assert status(admin, "c-1") == "PROCESSED"


def test_a_sender_asks_of_its_own(
    start_broker: StartBroker, connect: Connect, queue: str, tmp_path: Path
) -> None:
    """On whatever connection, and of nobody else's, not even whether there is any; an administrator of all."""
    users = write_users(tmp_path, alice="administrators", bob="", carol="")
    broker = start_broker("memory:", users=users, anonymous=True)

    def known(login: str) -> Client:
        return connect(to=broker, login=login, passcode=PASSCODE)

    for login in ("bob", "carol"):
        put(known(login), queue, b"job", report="processed", correlation_id="1")
    put(known("carol"), queue, b"job", report="processed", correlation_id="2")
    alice, bob, carol, nobody = (
        Administrator(known(login)) for login in ("alice", "bob", "carol", "")
    )
    assert [len(each.call("tracked", "1")["parts"]) for each in (alice, bob, carol)] == [2, 1, 1]
    assert len(carol.call("tracked", "2")["parts"]) == 1
    for asker, id in ((bob, "2"), (nobody, "1"), (alice, "3")):
        fails(asker, INVALID_PARAMS, f"id: nothing is known of a message '{id}'", "tracked", id)
    fails(carol, FORBIDDEN, "for administrators", "tracked_messages")
    assert {each["login"] for each in pages(alice)} == {"bob", "carol"}


def test_what_has_expired_or_is_over_for_long(start_broker: StartBroker, connect: Connect) -> None:
    """It is known for `track_for` seconds after its end."""
    broker = start_broker(sweep_every=0.02, track_for=0.5)
    client, admin = connect(to=broker), Administrator(connect(to=broker))
    put(client, JOBS, b"job", report="expired", correlation_id="c-1", ttl="1")
    await_status(admin, "c-1", "EXPIRED")
    await_status(admin, "c-1", "")


def await_status(asker: Administrator, id: str, wanted: str) -> None:
    """Wait until a message has a status; "": it is not known."""
    end = time.monotonic() + 30
    found = "?"
    while found != wanted:
        assert time.monotonic() < end
        try:
            found = status(asker, id)
        except Fault:
            found = ""


def test_all_messages_page_by_page(start_broker: StartBroker, connect: Connect) -> None:
    """Each once, whatever they are doing, or those with a status."""
    broker = start_broker()
    client, admin = connect(to=broker), Administrator(connect(to=broker))
    send_many(client, 450)
    subscribe(client, JOBS, ack="client", prefetch_count="30")
    jobs = take(client, 30)
    client.send("ACK", **acknowledgement(client, jobs[9]))
    take(client, 10)
    assert sorted(each["id"] for each in pages(admin, limit=100)) == [f"{n:03}" for n in range(450)]
    assert len(pages(admin, status="PROCESSED", limit=3)) == 10
    assert len(pages(admin, status="SENT", limit=1000)) == 30
    assert admin.call("tracked_messages", "FAILED") == {"messages": [], "next": None}
    [first] = admin.call("tracked_messages", limit=1)["messages"]
    assert first["destination"] == JOBS
    assert first["login"] is None


def send_many(client: Client, many: int) -> None:
    """Send messages that are tracked by their numbers."""
    for number in range(many):
        client.send("SEND", destination=JOBS, report="processed", correlation_id=f"{number:03}")
    accepted(client.ask("SEND", destination="/queue/other"))


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"status": "DONE"}, "status: one of QUEUED, SENT, PROCESSED, FAILED, EXPIRED, not 'DONE'"),
        ({"limit": 0}, "limit: from 1 to 1000"),
        ({"limit": 1001}, "limit: from 1 to 1000"),
        ({"after": "x"}, "after: it is what an earlier call returned"),
        ({"after": "9" * 30}, "after: it is what an earlier call returned"),
    ],
)
def test_what_makes_no_sense_is_refused(
    admin: Administrator, named: dict[str, Any], text: str
) -> None:
    with pytest.raises(Fault, match=text) as caught:
        admin.call("tracked_messages", **named)
    assert caught.value.code == INVALID_PARAMS
    assert admin.call("tracked_messages", after=str(10**18 * 9))["next"] is None


def test_who_asks_may_wait_for_the_end(
    connect: Connect, admin: Administrator, queue: str, id: str
) -> None:
    """The answer comes with the acknowledgement, which is on disk then."""
    client = connect()
    put(client, queue, b"job", report="processed", correlation_id=id)
    wait = {"jsonrpc": "2.0", "method": "tracked", "params": {"id": id, "wait": 60}, "id": 1}
    for _ in range(2):
        admin.tell(json.dumps(wait).encode(), **{"reply-to": REPLIES})
    subscribe(client, queue, ack="client-individual")
    [job] = take(client, 1)
    accepted(ack(client, job))
    for answer in take(admin.client, 2):
        assert json.loads(answer.body)["result"]["status"] == "PROCESSED"
    assert admin.call("tracked", id, 60)["status"] == "PROCESSED"


def test_who_waits_in_vain_is_told_how_far_it_is(
    connect: Connect, admin: Administrator, queue: str, id: str
) -> None:
    put(connect(), queue, b"job", report="processed", correlation_id=id)
    assert admin.call("tracked", id, 0.01)["status"] == "QUEUED"
    fails(admin, INVALID_PARAMS, "wait: 0 to 60 seconds, not 61", "tracked", id, 61)
    fails(admin, INVALID_PARAMS, "wait: 0 to 60 seconds, not -1", "tracked", id, -1)
