"""Messages with a lifetime: never delivered when it is over, and gone though nobody comes for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    await_waiting,
    bodies,
    drain,
    expect_error,
    is_served,
    let_pass,
    nack,
    put,
    subscribe,
    take,
)

LETTERS = "/queue/ActiveMQ.DLQ"
HOUR = 3_600_000  # milliseconds
SETTINGS: dict[str, object] = {
    'destination."own.>".dead_letter_queue': "late.{name}",
    'destination."dropped.>".expired': "discard",
    'destination."dropped.>".dead_letter_queue': "late.{name}",
    'destination."short.>".ttl_default': 50,
    'destination."short.>".dead_letter_queue': "late.{name}",
    'destination."hour.>".ttl_default': HOUR,
    'destination."capped.>".ttl_max': HOUR,
    'composite."/queue/both".forward_to': ["/queue/hour.both", "/queue/own.both"],
    'composite."/queue/both".forward_only': True,
    "sweep_every": 0.05,
}
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker that looks often for what has expired."""
    directory = tmp_path_factory.mktemp("expiry")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, SETTINGS)
    yield process
    process.kill()


@pytest.fixture
def name() -> str:
    """Return the name of a queue whose late messages go to `late.NAME`."""
    return f"own.{next(_numbers)}"


def now() -> int:
    """Return milliseconds since 1970."""
    return int(time.time() * 1000)


def late(connect: Connect, name: str, count: int = 1) -> list[Frame]:
    """Wait for messages that came too late for their consumers, and consume them."""
    client = connect()
    subscribe(client, f"/queue/late.{name}", id="late", ack="client")
    letters = take(client, count)
    accepted(ack(client, letters[-1]))
    accepted(client.ask("UNSUBSCRIBE", id="late"))
    return letters


@pytest.mark.parametrize("header", ["expires", "ttl", "expiration"])
def test_it_goes_without_a_consumer(connect: Connect, version: str, name: str, header: str) -> None:
    """`expires` is a moment, `ttl` and `expiration` are milliseconds; then it is a dead letter."""
    moment = now() + 100
    value = str(moment) if header == "expires" else "100"
    put(connect(version), f"/queue/{name}", b"late", b"too", **{header: value, "color": "red"})
    put(connect(version), f"/queue/{name}", b"lives")
    letters = late(connect, name, 2)
    assert now() >= moment
    assert bodies(letters) == [b"late", b"too"]
    for letter in letters:
        assert letter.headers["dlqDeliveryFailureCause"] == "expired"
        assert letter.headers["original-destination"] == f"/queue/{name}"
        assert letter.headers["color"] == "red"
        assert "expires" not in letter.headers
        assert abs(int(letter.headers["originalExpiration"]) - moment) < 5000
    assert drain(connect(version), f"/queue/{name}") == [b"lives"]


@pytest.mark.parametrize("header", ["expires", "ttl", "expiration"])
def test_a_consumer_is_told_when_it_expires(connect: Connect, queue: str, header: str) -> None:
    """As a moment, whatever the sender wrote."""
    moment = now() + HOUR
    value = str(moment if header == "expires" else HOUR)
    client = connect()
    subscribe(client, queue)
    put(connect(), queue, b"x", **{header: value})
    told = int(client.expect("MESSAGE").headers["expires"])
    assert told == moment if header == "expires" else moment <= told < moment + 30_000


def test_the_moment_counts_more_than_the_lifetime(connect: Connect, queue: str) -> None:
    """`expires:0` means never, as in JMS, and so does what lies before 1970."""
    client = connect()
    subscribe(client, queue)
    for expires in ("0", "-1"):
        put(connect(), queue, b"x", expires=expires, ttl="1")
        assert client.expect("MESSAGE").headers["expires"] == expires
    put(connect(), queue, b"x", ttl="0", expiration="0")
    assert "expires" not in client.expect("MESSAGE").headers


@pytest.mark.parametrize("value", ["soon", "1e3", "", "1.5", "9" * 30])
@pytest.mark.parametrize("header", ["expires", "ttl", "expiration"])
def test_what_is_no_number_is_refused(
    connect: Connect, queue: str, header: str, value: str
) -> None:
    """And nothing is stored."""
    client = connect()
    answer = client.ask("SEND", b"x", destination=queue, **{header: value})
    expect_error(answer, f"Invalid {header}: {value}")
    assert is_served(client)
    assert drain(connect(), queue) == []


def test_what_is_late_when_it_comes_is_a_dead_letter(connect: Connect, name: str) -> None:
    """Also if a consumer waits for it: nothing that has expired is ever delivered."""
    client = connect()
    subscribe(client, f"/queue/{name}", ack="client")
    put(connect(), f"/queue/{name}", b"late", expires=str(now() - 1))
    put(connect(), f"/queue/{name}", b"in time")
    assert client.expect("MESSAGE").body == b"in time"
    assert late(connect, name)[0].body == b"late"


def test_what_is_late_when_it_comes_to_a_topic(connect: Connect, topic: str) -> None:
    """Neither those who are there nor those who are away ever get it."""
    client, durable = connect(), connect(client_id=topic)
    name = {"activemq.subscriptionName": "n"}
    subscribe(client, topic)
    subscribe(durable, topic, **name)
    put(connect(), topic, b"late", expires="1")
    put(connect(), topic, b"in time")
    assert client.expect("MESSAGE").body == durable.expect("MESSAGE").body == b"in time"
    accepted(durable.ask("UNSUBSCRIBE", id="s"))
    put(connect(), topic, b"late too", expires="1")
    put(connect(), topic, b"in time too")
    subscribe(durable, topic, **name)
    assert durable.expect("MESSAGE").body == b"in time too"


def test_what_expires_in_a_transaction(server: BrokerProcess, connect: Connect, name: str) -> None:
    """The clock of a lifetime starts with the SEND, not with the COMMIT."""
    client = connect()
    subscribe(client, f"/queue/{name}")
    accepted(client.ask("BEGIN", transaction="t"))
    client.send("SEND", b"late", destination=f"/queue/{name}", transaction="t", ttl="50")
    client.send("SEND", b"in time", destination=f"/queue/{name}", transaction="t")
    let_pass(server, 0.1)
    client.send("COMMIT", transaction="t")
    assert client.expect("MESSAGE").body == b"in time"
    assert late(connect, name)[0].body == b"late"


def test_it_may_be_dropped(server: BrokerProcess, connect: Connect) -> None:
    """With `expired = "discard"` there is no dead letter."""
    name = f"dropped.{next(_numbers)}"
    put(connect(), f"/queue/{name}", b"late", ttl="1")
    put(connect(), f"/queue/{name}", b"lives", ttl=str(HOUR))
    let_pass(server, 0.3)
    assert drain(connect(), f"/queue/{name}") == [b"lives"]
    assert drain(connect(), f"/queue/late.{name}") == []


def test_a_reply_that_nobody_waits_for_any_more_is_no_letter(connect: Connect) -> None:
    """Replies to remote calls are dropped when they expire, unless the operator says otherwise."""
    put(connect(), "/queue/rpc.reply.gone", b"late reply", expires="1000")
    put(connect(), "/queue/other", b"late message", expires="1000")
    reader = connect()
    subscribe(reader, LETTERS)
    before = list(iter(lambda: take(reader, 1)[0].body, b"late message"))
    assert b"late reply" not in before


def test_what_is_not_persistent_goes_without_a_letter(connect: Connect, name: str) -> None:
    """As anything that fails and was not to be kept."""
    put(connect(), f"/queue/{name}", b"fleeting", ttl="1", persistent="false")
    put(connect(), f"/queue/{name}", b"kept", ttl="1")
    assert bodies(late(connect, name)) == [b"kept"]
    assert drain(connect(), f"/queue/{name}") == []
    assert drain(connect(), f"/queue/late.{name}") == []


def test_what_a_consumer_has_it_may_finish(
    server: BrokerProcess, connect: Connect, name: str
) -> None:
    """What it gives back too late does not come again."""
    client = connect()
    subscribe(client, f"/queue/{name}", ack="client-individual")
    put(connect(), f"/queue/{name}", b"1", b"2", ttl="200")
    first, second = take(client, 2)
    let_pass(server, 0.3)
    accepted(ack(client, first))
    accepted(nack(client, second, requeue="true"))
    assert client.silent()
    assert bodies(late(connect, name)) == [b"2"]


def test_what_was_put_off_may_expire_meanwhile(connect: Connect, name: str) -> None:
    """A delayed redelivery does not give a message a second life."""
    client = connect()
    subscribe(client, f"/queue/{name}", ack="client-individual")
    put(connect(), f"/queue/{name}", b"1", ttl="100")
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), delay="200")
    assert bodies(late(connect, name)) == [b"1"]
    assert client.silent()


def test_a_browser_does_not_see_what_has_expired(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Though nobody has swept yet."""
    broker = start_broker("memory:")
    client = connect(to=broker)
    put(client, "/queue/a", b"late", ttl="1")
    put(client, "/queue/a", b"lives")
    let_pass(broker, 0.05)
    subscribe(client, "/queue/a", browser="true")
    assert client.expect("MESSAGE").body == b"lives"
    assert client.expect("MESSAGE").headers["browser"] == "end"


@pytest.mark.parametrize("selector", ["", "color = 'red'"])
def test_a_consumer_that_comes_later_gets_none(
    start_broker: StartBroker, connect: Connect, selector: str
) -> None:
    """Though nobody has swept yet; from memory or from the store, whether it chooses or not."""
    broker = start_broker()
    client = connect(to=broker)
    lines = (b"ttl:1\n" if number % 2 else b"" for number in range(3000))
    client.write(
        b"".join(
            b"SEND\ndestination:/queue/a\ncolor:red\n%b\n%d\0" % (line, number)
            for number, line in enumerate(lines)
        )
    )
    assert is_served(client)
    let_pass(broker, 0.05)
    subscribe(client, "/queue/a", **({"selector": selector} if selector else {}))
    assert [int(body) for body in bodies(take(client, 1500))] == list(range(0, 3000, 2))
    assert client.silent()
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert len(drain(connect(to=broker), LETTERS)) == 1500


def test_twenty_thousand_behind_the_window_go_without_a_consumer(
    start_broker: StartBroker, connect: Connect
) -> None:
    """And the one that lives between them stays; at flat memory, while others are served."""
    broker = start_broker(sweep_every=0.1, **{'destination."a".expired': "discard"})
    client = connect(to=broker)
    before = broker.memory()
    line = b"expires:%d\n" % (now() + 2000)
    client.write(
        b"".join(
            b"SEND\ndestination:/queue/a\n%b\n%0200d\0"
            % (b"" if number == 15_000 else line, number)
            for number in range(20_000)
        )
    )
    assert is_served(client)
    put(client, "/queue/last", b"x", expires=str(now() + 2001))
    subscribe(client, LETTERS, ack="client")
    assert client.expect("MESSAGE").headers["original-destination"] == "/queue/last"
    await_waiting(connect(to=broker), "a", 1)
    assert broker.memory() < before + 40_000_000
    assert [int(body) for body in drain(connect(to=broker), "/queue/a")] == [15_000]


def test_it_goes_after_a_restart(start_broker: StartBroker, connect: Connect) -> None:
    """What expired while the broker was down, and what was not read since."""
    broker = start_broker(sweep_every=1000)
    sender = connect(to=broker)
    put(sender, "/queue/a", b"1", b"2", ttl="1")
    put(sender, "/queue/a", b"3")
    broker.kill()
    broker = start_broker(sweep_every=0.05)
    client = connect(to=broker)
    subscribe(client, LETTERS)
    assert bodies(take(client, 2)) == [b"1", b"2"]
    assert drain(connect(to=broker), "/queue/a") == [b"3"]


# What an operator may say.


def test_a_lifetime_for_those_who_name_none(connect: Connect) -> None:
    """`ttl_default`; who names one keeps it."""
    name = f"short.{next(_numbers)}"
    put(connect(), f"/queue/{name}", b"default")
    put(connect(), f"/queue/{name}", b"long", ttl=str(HOUR))
    letter = late(connect, name)[0]
    assert letter.body == b"default"
    assert "originalExpiration" in letter.headers
    assert drain(connect(), f"/queue/{name}") == [b"long"]


def test_no_lifetime_is_longer_than_the_longest(connect: Connect) -> None:
    """`ttl_max`; what names none lives on."""
    queue = f"/queue/capped.{next(_numbers)}"
    client = connect()
    subscribe(client, queue)
    before = now()
    put(connect(), queue, b"1", ttl=str(10 * HOUR))
    put(connect(), queue, b"2", ttl=str(HOUR // 2))
    put(connect(), queue, b"3")
    first, second, third = take(client, 3)
    assert before + HOUR <= int(first.headers["expires"]) <= now() + HOUR
    assert int(second.headers["expires"]) < before + HOUR
    assert "expires" not in third.headers


@pytest.mark.parametrize(
    "destination", ["/queue/hour.both,/queue/own.both", "/queue/both", "/topic/VirtualTopic.x"]
)
def test_each_copy_obeys_the_policy_of_its_queue(
    start_broker: StartBroker, connect: Connect, destination: str
) -> None:
    """Several destinations, an operator's composite, the consumers of a virtual topic."""
    policy = {'destination."Consumer.hour.>".ttl_default': HOUR}
    broker = start_broker("memory:", **{**SETTINGS, **policy})
    queues = ("/queue/hour.both", "/queue/own.both")
    if destination.startswith("/topic/"):
        queues = ("/queue/Consumer.hour.VirtualTopic.x", "/queue/Consumer.own.VirtualTopic.x")
    client = connect(to=broker)
    for number, each in enumerate(queues):
        subscribe(client, each, id=str(number))
    put(connect(to=broker), destination, b"x")
    told = {each.headers["subscription"]: each.headers.get("expires") for each in take(client, 2)}
    assert told["0"] is not None
    assert told["1"] is None


def test_nobody_gets_a_late_message_of_a_topic(
    server: BrokerProcess, connect: Connect, topic: str
) -> None:
    """Neither who comes later and wants the retained one, nor who reads too slowly."""
    client = connect()
    subscribe(client, topic, ack="client", **{"activemq.prefetchSize": "1"})
    retain = {"ActiveMQ.Retain": "true", "ttl": "100"}
    put(connect(), topic, b"1")
    put(connect(), topic, b"2", **retain)
    put(connect(), topic, b"3")
    let_pass(server, 0.2)
    client.send("ACK", **acknowledgement(client, client.expect("MESSAGE")))
    assert client.expect("MESSAGE").body == b"3"
    later = connect()
    subscribe(later, topic)
    assert later.silent()


def test_a_ceiling_holds_for_whoever_repeats_himself(
    start_broker: StartBroker, connect: Connect
) -> None:
    """However often SENDs that look alike have been read before."""
    broker = start_broker("memory:", **{'destination."brief".ttl_max': 60_000})
    client = connect(to=broker)
    subscribe(client, "/queue/brief")
    latest = 0
    for number in range(60):
        moment = str(99_999_999_999_000 + number)
        client.send("SEND", destination="/queue/brief", correlation_id=str(number), expires=moment)
        latest = max(latest, int(client.expect("MESSAGE").headers["expires"]))
    assert latest < (time.time() + 120) * 1000
