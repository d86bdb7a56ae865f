"""Managing what is scheduled: looking at it and taking it back, by messages."""

from __future__ import annotations

import time

import pytest

from broker.stomp import Frame
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, bodies, expect_error, subscribe, take

MANAGEMENT = "/topic/ActiveMQ.Scheduler.Management"
HOUR = 3_600_000  # milliseconds
AGES = 700_000 * HOUR


def send(client: Client, destination: str, body: bytes, /, **headers: str) -> None:
    """Send a message whose headers have underscores; do not wait."""
    client.write(
        Frame("SEND", {"destination": destination, **headers}, body).encode(client.version)
    )


def order(client: Client, action: str, **headers: str) -> Frame:
    """Send an order and return the answer."""
    send(client, MANAGEMENT, b"", AMQ_SCHEDULER_ACTION=action, receipt=action, **headers)
    answer = client.frame()
    assert answer.headers["receipt-id"] == action
    return answer


def schedule(client: Client, destination: str, body: bytes, **headers: str) -> None:
    """Send a message for later."""
    named = {f"AMQ_SCHEDULED_{name}": value for name, value in headers.items()}
    send(client, destination, body, receipt="scheduled", **named)
    client.expect("RECEIPT", receipt_id="scheduled")


def browse(client: Client, destination: str, **limits: str) -> list[Frame]:
    """Return what is scheduled for a destination, in the order it is due.

    There is no sign of the end: a job of our own, that is due after all others, is asked for next.
    """
    late = str(now() + AGES - HOUR)
    schedule(client, "/queue/end", b"the end", DELAY=str(AGES))
    for asked in (limits, {"ACTION_START_TIME": late}):
        headers = {"AMQ_SCHEDULER_ACTION": "BROWSE", "reply-to": "/temp-queue/shown", **asked}
        send(client, MANAGEMENT, b"", **headers)
    shown = []
    while (frame := client.expect("MESSAGE")).body != b"the end":
        shown.append(frame)
    if not limits:  # then it comes twice
        client.expect("MESSAGE")
    accepted(order(client, "REMOVE", scheduledJobId=frame.headers["scheduledJobId"]))
    return [each for each in shown if each.headers["original-destination"] == destination]


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


@pytest.fixture
def client(connect: Connect) -> Client:
    """Return a client that can be answered."""
    client = connect()
    subscribe(client, "/temp-queue/shown", id="shown")
    return client


def test_what_is_scheduled_is_shown_with_its_plan(client: Client, queue: str) -> None:
    schedule(client, queue, b"once", DELAY=str(HOUR))
    schedule(client, queue, b"often", DELAY=str(2 * HOUR), PERIOD="5000", REPEAT="3")
    schedule(client, queue, b"cron", CRON="0 0 29 2 *")
    shown = {frame.body: frame.headers for frame in browse(client, queue)}
    assert len(shown) == 3
    once, often, cron = shown[b"once"], shown[b"often"], shown[b"cron"]
    assert once["original-destination"] == queue
    assert once["AMQ_SCHEDULED_DELAY"] == str(HOUR)
    assert 0 <= now() + HOUR - int(once["AMQ_SCHEDULED_TIME"]) < 60_000
    assert "AMQ_SCHEDULED_PERIOD" not in once
    assert (often["AMQ_SCHEDULED_PERIOD"], often["AMQ_SCHEDULED_REPEAT"]) == ("5000", "3")
    assert cron["AMQ_SCHEDULED_CRON"] == "0 0 29 2 *"
    assert len({headers["scheduledJobId"] for headers in shown.values()}) == 3


def test_the_message_itself_is_shown(connect: Connect, queue: str, version: str) -> None:
    client = connect(version)
    subscribe(client, "/temp-queue/shown", id="shown")
    send(client, queue, b"hello", AMQ_SCHEDULED_DELAY=str(HOUR), color="red")
    [frame] = browse(client, queue)
    assert (frame.body, frame.headers["color"]) == (b"hello", "red")


def test_what_is_not_stored_is_shown_too(client: Client, queue: str) -> None:
    send(client, queue, b"1", AMQ_SCHEDULED_DELAY=str(HOUR), persistent="false")
    assert bodies(browse(client, queue)) == [b"1"]


def test_looking_takes_nothing(client: Client, queue: str) -> None:
    schedule(client, queue, b"1", DELAY=str(HOUR))
    first, second = browse(client, queue), browse(client, queue)
    assert bodies(first) == bodies(second) == [b"1"]
    assert first[0].headers["scheduledJobId"] == second[0].headers["scheduledJobId"]
    assert first[0].headers["message-id"] != second[0].headers["message-id"]


def test_only_what_is_due_in_a_while_is_shown(client: Client, queue: str) -> None:
    """ActiveMQ wants both ends; here one is enough."""
    for hours in (1, 2, 3):
        schedule(client, queue, b"%d" % hours, DELAY=str(hours * HOUR))
    start = {"ACTION_START_TIME": str(now() + HOUR * 3 // 2)}
    end = {"ACTION_END_TIME": str(now() + HOUR * 5 // 2)}
    assert bodies(browse(client, queue, **start, **end)) == [b"2"]
    assert bodies(browse(client, queue, **end)) == [b"1", b"2"]


def test_a_job_that_is_removed_is_not_delivered(client: Client, queue: str) -> None:
    schedule(client, queue, b"removed", DELAY="1000")
    schedule(client, queue, b"kept", DELAY="1001")
    removed, kept = browse(client, queue)
    accepted(order(client, "REMOVE", scheduledJobId=removed.headers["scheduledJobId"]))
    subscribe(client, queue)
    [message] = take(client, 1)
    assert message.body == b"kept"
    assert message.headers["scheduledJobId"] == kept.headers["scheduledJobId"]


def test_all_jobs_of_a_while_are_removed(client: Client, queue: str) -> None:
    for hours in (1, 2, 3):
        schedule(client, queue, b"%d" % hours, DELAY=str(hours * HOUR))
    start, end = str(now() + HOUR // 2), str(now() + HOUR * 5 // 2)
    accepted(order(client, "REMOVEALL", ACTION_START_TIME=start, ACTION_END_TIME=end))
    assert bodies(browse(client, queue)) == [b"3"]


def test_all_jobs_are_removed(client: Client, queue: str) -> None:
    for hours in (1, 2, 3):
        schedule(client, queue, b"%d" % hours, DELAY=str(hours * HOUR))
    accepted(order(client, "REMOVEALL"))
    assert browse(client, queue) == []


def test_a_job_that_is_not_there_is_removed_already(client: Client) -> None:
    accepted(order(client, "REMOVE", scheduledJobId="job-1-1"))
    assert client.silent()


def test_what_names_a_job_is_sent_at_once(client: Client, queue: str) -> None:
    """As ActiveMQ: it was scheduled before, and is passed on."""
    subscribe(client, queue)
    send(client, queue, b"1", AMQ_SCHEDULED_DELAY=str(HOUR), scheduledJobId="theirs")
    assert client.expect("MESSAGE").headers["scheduledJobId"] == "theirs"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"AMQ_SCHEDULER_ACTION": "BROWSE"}, "BROWSE needs a reply-to"),
        ({"AMQ_SCHEDULER_ACTION": "REMOVE"}, "REMOVE needs a scheduledJobId"),
        ({"AMQ_SCHEDULER_ACTION": "DANCE"}, "Invalid AMQ_SCHEDULER_ACTION: DANCE"),
        ({}, "Invalid AMQ_SCHEDULER_ACTION"),
        (
            {"AMQ_SCHEDULER_ACTION": "REMOVEALL", "ACTION_END_TIME": "soon"},
            "Invalid ACTION_END_TIME: soon",
        ),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    client: Client, headers: dict[str, str], text: str
) -> None:
    send(client, MANAGEMENT, b"", **headers)
    expect_error(client.frame(), text)
    assert client.silent()
