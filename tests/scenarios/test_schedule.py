"""Messages for later: after a delay, at a moment, again and again."""

from __future__ import annotations

import contextlib
import statistics
import time
from itertools import count

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client, Closed
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    bodies,
    drain,
    expect_error,
    is_served,
    let_pass,
    put,
    subscribe,
    take,
)

HOUR = 3_600_000  # milliseconds
DELAY, TIME = "AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_TIME"
PERIOD, REPEAT, CRON = "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON"
_numbers = count(1)


def now() -> int:
    """Return milliseconds since 1970."""
    return int(time.time() * 1000)


def ask(client: Client, destination: str, body: bytes, headers: dict[str, str]) -> Frame:
    """Send a message with headers as they are written, `_` included, and return the answer."""
    receipt = f"sent {next(_numbers)}"
    head = {"destination": destination, "receipt": receipt, **headers}
    client.write(Frame("SEND", head, body).encode(client.version))
    answer = client.frame()
    assert answer.headers["receipt-id"] == receipt
    return answer


def schedule(client: Client, destination: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a message for later, wait for its RECEIPT and return when that came."""
    accepted(ask(client, destination, body, headers))
    return now()


# When it comes.


@pytest.mark.parametrize("header", [DELAY, TIME])
def test_it_comes_when_it_is_due_and_not_before(
    connect: Connect, version: str, queue: str, header: str
) -> None:
    """What was sent later for now is there before it."""
    client = connect(version)
    subscribe(client, queue)
    due = now() + 1000
    value = str(due if header == TIME else 1000)
    schedule(connect(version), queue, b"later", {header: value, "color": "red"})
    put(connect(version), queue, b"now")
    assert client.expect("MESSAGE").body == b"now"
    message = client.expect("MESSAGE", color="red")
    assert message.body == b"later"
    assert due <= now() < due + 5000


def test_it_does_not_wait_for_a_consumer(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """It waits in its queue then, as any other message."""
    schedule(connect(), queue, b"1", {DELAY: "1000"})
    assert drain(connect(), queue) == []
    let_pass(server, 1.2)
    put(connect(), queue, b"2")
    assert drain(connect(), queue) == [b"1", b"2"]


def test_in_the_order_in_which_they_are_due(connect: Connect, queue: str) -> None:
    """Not in that in which they were sent; those of one moment in that."""
    client, moment = connect(), now() + 1500
    subscribe(client, queue)
    for body, due in (
        (b"3", moment + 60),
        (b"1", moment),
        (b"2", moment + 30),
        (b"1+", moment),
        (b"3+", moment + 60),
    ):
        schedule(connect(), queue, body, {TIME: str(due)})
    assert bodies(take(client, 5)) == [b"1", b"1+", b"2", b"3", b"3+"]


@pytest.mark.parametrize("headers", [{TIME: "1"}, {DELAY: "0"}, {CRON: "", DELAY: "0"}])
def test_what_is_due_comes_at_once(connect: Connect, queue: str, headers: dict[str, str]) -> None:
    """A moment that has passed, or no delay."""
    client = connect()
    subscribe(client, queue)
    schedule(connect(), queue, b"1", headers)
    assert client.expect("MESSAGE").body == b"1"


def test_it_is_exact_while_nothing_else_happens(
    start_broker: StartBroker, connect: Connect
) -> None:
    """To 50 ms. The machine may be busy: half of them must be."""
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    late = []
    for number in range(20):
        due = now() + 100 + 7 * number
        schedule_silently(client, "/queue/a", due)
        client.expect("MESSAGE")
        late.append(time.time() * 1000 - due)
    print(f"late by {statistics.median(late):.1f} ms, at most {max(late):.1f} ms")
    assert min(late) >= 0
    assert statistics.median(late) < 50


def schedule_silently(client: Client, destination: str, due: int) -> None:
    """Send a message for a moment, without a RECEIPT."""
    client.write(Frame("SEND", {"destination": destination, TIME: str(due)}).encode("1.2"))


# Again and again.


@pytest.mark.parametrize(("delay", "first"), [({DELAY: "150"}, 150), ({}, 100)])
def test_it_is_repeated(connect: Connect, queue: str, delay: dict[str, str], first: int) -> None:
    """First after the delay, or after a period; then so many times more, a period after the other."""
    client = connect()
    subscribe(client, queue)
    before = now()
    schedule(connect(), queue, b"tick", {**delay, PERIOD: "100", REPEAT: "3"})
    for number in range(4):
        assert client.expect("MESSAGE").body == b"tick"
        assert now() - before >= first + 100 * number
    let_pass_here(client, 0.3)


def let_pass_here(client: Client, seconds: float) -> None:
    """Let time pass by a message of our own, and see that nothing else comes."""
    subscribe(client, "/temp-queue/clock", id="clock")
    schedule_silently(client, "/temp-queue/clock", now() + int(seconds * 1000))
    assert client.expect("MESSAGE").headers["destination"] == "/temp-queue/clock"
    accepted(client.ask("UNSUBSCRIBE", id="clock"))


def test_without_end(connect: Connect, queue: str) -> None:
    """`REPEAT:-1`, until somebody removes the job."""
    client = connect()
    subscribe(client, queue)
    schedule(connect(), queue, b"tick", {PERIOD: "20", REPEAT: "-1"})
    message = take(client, 5)[-1]
    headers = {
        "AMQ_SCHEDULER_ACTION": "REMOVE",
        "scheduledJobId": message.headers["scheduledJobId"],
    }
    answer = ask(connect(), "/topic/ActiveMQ.Scheduler.Management", b"", headers)
    accepted(answer)


def test_repetitions_without_a_period_come_every_100_ms(connect: Connect, queue: str) -> None:
    """As with ActiveMQ."""
    client = connect()
    subscribe(client, queue)
    before = now()
    schedule(connect(), queue, b"tick", {DELAY: "1", REPEAT: "2"})
    take(client, 3)
    assert now() - before >= 200


def test_a_number_of_repetitions_alone_is_no_schedule(connect: Connect, queue: str) -> None:
    """As with ActiveMQ: it is sent once, now."""
    client = connect()
    subscribe(client, queue)
    schedule(connect(), queue, b"1", {REPEAT: "5"})
    assert REPEAT not in client.expect("MESSAGE").headers
    let_pass_here(client, 0.3)


@pytest.mark.parametrize("value", ["soon", "1.5", "-1", "", "NaN", "9" * 16, "9" * 20, "1e3"])
@pytest.mark.parametrize("header", [DELAY, TIME, PERIOD])
def test_bad_numbers_are_refused(connect: Connect, queue: str, header: str, value: str) -> None:
    """And nothing comes, now or later."""
    client = connect()
    answer = ask(client, queue, b"x", {header: value})
    assert answer.command == "ERROR"
    assert is_served(client)
    assert drain(connect(), queue) == []


@pytest.mark.parametrize("value", ["-2", "often", "1.5", ""])
def test_a_bad_number_of_repetitions_is_refused(connect: Connect, queue: str, value: str) -> None:
    """-1 is the only negative one that means something."""
    client = connect()
    answer = ask(client, queue, b"x", {DELAY: "1", PERIOD: "1", REPEAT: value})
    assert answer.command == "ERROR"
    assert is_served(client)


@pytest.mark.parametrize(
    "text", ["* * * *", "61 * * * *", "* * * * * *", "every day", "0 0 31 2 *", "*/0 * * * *"]
)
@pytest.mark.parametrize("transaction", [{}, {"transaction": "t"}])
def test_a_bad_cron_text_is_refused(
    connect: Connect, queue: str, text: str, transaction: dict[str, str]
) -> None:
    """With the SEND, also in a transaction, which goes on."""
    client = connect()
    accepted(client.ask("BEGIN", transaction="t"))
    expect_error(ask(client, queue, b"x", {CRON: text, **transaction}), f"Invalid {CRON}: {text}")
    accepted(client.ask("COMMIT", transaction="t"))
    assert drain(connect(), queue) == []


# What it looks like.


def test_it_says_which_job_it_was_and_nothing_of_the_plan(connect: Connect, queue: str) -> None:
    """A message that is forwarded must not be scheduled once more."""
    client = connect()
    subscribe(client, queue)
    plan = {DELAY: "10", PERIOD: "20", REPEAT: "1"}
    schedule(connect(), queue, b"1", {**plan, "priority": "7", "color": "red"})
    first, second = take(client, 2)
    assert first.headers["scheduledJobId"] == second.headers["scheduledJobId"]
    assert first.headers["message-id"] != second.headers["message-id"]
    for message in (first, second):
        assert message.headers.keys().isdisjoint({DELAY, TIME, PERIOD, REPEAT, CRON})
        assert (message.headers["priority"], message.headers["color"]) == ("7", "red")
        assert "redelivered" not in message.headers
    accepted(ask(connect(), queue, b"1", {**second.headers, **plan, "destination": queue}))
    third = client.expect("MESSAGE")
    assert third.headers["message-id"] != second.headers["message-id"]
    assert third.headers["scheduledJobId"] == second.headers["scheduledJobId"]


def test_its_priority_and_its_group_are_its_own(connect: Connect, queue: str) -> None:
    """It takes its place when it comes."""
    client, moment = connect(), now() + 1000
    for priority in ("1", "9", "5"):
        headers = {TIME: str(moment), "priority": priority, "JMSXGroupID": "g"}
        schedule(client, queue, priority.encode(), headers)
    subscribe(client, "/queue/clock.of.priorities", id="clock")
    schedule_silently(client, "/queue/clock.of.priorities", moment + 50)
    client.expect("MESSAGE", subscription="clock")
    subscribe(client, queue)
    messages = take(client, 3)
    assert bodies(messages) == [b"9", b"5", b"1"]
    assert messages[0].headers["JMSXGroupFirstForConsumer"] == "true"


def test_its_lifetime_begins_with_the_delivery(connect: Connect, queue: str) -> None:
    """As with ActiveMQ: a delay that is longer does not kill it."""
    client = connect()
    subscribe(client, queue)
    schedule(connect(), queue, b"1", {DELAY: "200", "ttl": "100"})
    assert client.expect("MESSAGE").body == b"1"


def test_escapes_survive(connect: Connect, queue: str, version: str) -> None:
    """What a header or a body holds is nothing to the schedule."""
    client = connect(version)
    subscribe(client, queue)
    body = bytes(range(256))
    schedule(connect("1.2"), queue, body, {DELAY: "10", "key": "a:b\\c"})
    message = client.expect("MESSAGE")
    assert (message.body, message.headers["key"]) == (body, "a:b\\c")


# Where it goes.


def test_to_those_who_are_subscribed_to_a_topic_then(connect: Connect, topic: str) -> None:
    """Not to those who were when it was sent."""
    early, late = connect(), connect()
    subscribe(early, topic)
    schedule(connect(), topic, b"1", {DELAY: "1000"})
    accepted(early.ask("UNSUBSCRIBE", id="s"))
    subscribe(late, topic)
    assert late.expect("MESSAGE").body == b"1"
    assert early.silent()


def test_to_several_destinations(connect: Connect, queue: str, topic: str) -> None:
    """Each gets a copy when it is due."""
    client = connect()
    subscribe(client, topic, id="t")
    subscribe(client, queue, id="q")
    schedule(connect(), f"{queue},{topic}", b"1", {DELAY: "50"})
    assert {message.headers["subscription"] for message in take(client, 2)} == {"t", "q"}


def test_to_a_temporary_queue_that_has_gone_meanwhile(connect: Connect) -> None:
    """It is dropped, and nobody else is hurt."""
    owner, sender = connect(), connect()
    subscribe(owner, "/temp-queue/mine")
    subscribe(sender, "/queue/requests", id="requests")
    owner.send("SEND", destination="/queue/requests", reply_to="/temp-queue/mine")
    reply_to = sender.expect("MESSAGE").headers["reply-to"]
    schedule(sender, reply_to, b"1", {DELAY: "50"})
    assert owner.expect("MESSAGE").body == b"1"
    schedule(sender, reply_to, b"2", {DELAY: "100", PERIOD: "50", REPEAT: "2"})
    owner.close()
    let_pass_here(sender, 0.3)
    assert is_served(sender)


# Transactions.


def test_the_delay_begins_with_the_commit(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """A moment is a moment, whenever it was committed."""
    client, consumer = connect(), connect()
    subscribe(consumer, queue)
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ask(client, queue, b"delayed", {DELAY: "300", "transaction": "t"}))
    moment = {TIME: str(now() + 200), "transaction": "t"}
    accepted(ask(client, queue, b"moment", moment))
    let_pass(server, 0.4)
    assert consumer.silent()
    before = now()
    accepted(client.ask("COMMIT", transaction="t"))
    assert consumer.expect("MESSAGE").body == b"moment"
    assert consumer.expect("MESSAGE").body == b"delayed"
    assert now() >= before + 300


@pytest.mark.parametrize("end", ["ABORT", "hang up"])
def test_what_is_aborted_is_not_scheduled(
    server: BrokerProcess, connect: Connect, queue: str, end: str
) -> None:
    """Nor what was never committed."""
    client = connect()
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ask(client, queue, b"1", {DELAY: "50", "transaction": "t"}))
    if end == "ABORT":
        accepted(client.ask("ABORT", transaction="t"))
    else:
        client.close()
    let_pass(server, 0.2)
    assert drain(connect(), queue) == []


# Restarts.


@pytest.mark.parametrize(
    ("store", "how"),
    [("lmdb:{}/data", "stop"), ("lmdb:{}/data", "kill"), ("sqlite:{}/hoof.db", "kill")],
)
def test_what_was_confirmed_comes_once(
    start_broker: StartBroker, connect: Connect, tmp_path: object, store: str, how: str
) -> None:
    """Whatever is due while the broker is down comes after the start, the rest when it is due.

    To queues and topics; what is not persistent waits in memory and is forgotten.
    """
    store = store.format(tmp_path)
    broker = start_broker(store, linger=0.1)
    sender = connect(to=broker)
    moment = now() + 6000
    schedule(sender, "/queue/a", b"soon", {DELAY: "400"})
    schedule(sender, "/queue/a", b"fleeting", {DELAY: "500", "persistent": "false"})
    schedule(sender, "/queue/a", b"early", {DELAY: "1"})
    schedule(sender, "/queue/b", b"tick", {DELAY: "450", PERIOD: "3600000", REPEAT: "5"})
    schedule(sender, "/queue/a", b"later", {TIME: str(moment), "priority": "9"})
    schedule(sender, "/topic/a", b"to all", {TIME: str(moment)})
    schedule(sender, "/queue/c", b"far", {CRON: "0 0 1 1 *"})
    let_pass(broker, 0.1)
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()
    broker = start_broker(store)
    client = connect(to=broker)
    subscribe(client, "/topic/a", id="t")
    for id in ("a", "b"):
        client.send("SUBSCRIBE", destination=f"/queue/{id}", id_=id)
    found = sorted(bodies(take(client, 5)))
    assert now() >= moment
    assert found == [b"early", b"later", b"soon", b"tick", b"to all"]
    assert client.silent()
    assert drain(connect(to=broker), "/queue/c") == []


def test_a_series_goes_on_after_a_crash(start_broker: StartBroker, connect: Connect) -> None:
    """With as many repetitions as are left; what came before the crash does not come again."""
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    schedule(connect(to=broker), "/queue/a", b"tick", {PERIOD: "1000", REPEAT: "4"})
    heard = take(client, 2)
    put(connect(to=broker), "/queue/b", b"")  # so that what went before is on disk
    broker.kill()
    with contextlib.suppress(Closed, ConnectionResetError):
        while True:  # on a busy machine another one has come meanwhile
            heard.append(client.frame())
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    rest = take(client, 5 - len(heard))
    first, *later = heard + rest
    assert {each.headers["scheduledJobId"] for each in later} == {first.headers["scheduledJobId"]}
    assert len({each.headers["message-id"] for each in (first, *later)}) == 5
    let_pass(broker, 1.2)
    assert client.silent()
