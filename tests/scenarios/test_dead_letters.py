"""Messages that nobody can use: refused, tried again, given up, and where they end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
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

SHARED = "/queue/ActiveMQ.DLQ"
SETTINGS: dict[str, object] = {
    'destination."delayed.>".redelivery_delay': 0.2,
    'destination."backoff.>".redelivery_delay': 0.1,
    'destination."backoff.>".redelivery_backoff': 3.0,
    'destination."backoff.>".redelivery_delay_max': 0.4,
    'destination."backoff.>".max_redeliveries': 4,
    'destination."once.>".max_redeliveries': 0,
    'destination."twice.>".max_redeliveries': 1,
    'destination."own.>".dead_letter_queue': "DLQ.{name}",
    'destination."own.>".max_redeliveries': 1,
    'destination."DLQ.>".max_redeliveries': 1,
    'destination."dropped.>".dead_letter_queue': "",
    'destination."same.>".dead_letter_queue': "{name}",
    'destination."fleeting.>".dead_letter_non_persistent': True,
    'destination."dying.>".dead_letter_queue': "dead.{name}",
    'destination."dying.>".dead_letter_ttl': 200,
    "sweep_every": 0.05,
}
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker whose destinations differ in what becomes of messages that fail."""
    directory = tmp_path_factory.mktemp("dead-letters")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, SETTINGS)
    yield process
    process.kill()


def name_in(pattern: str) -> str:
    """Return the name of a destination that nobody else uses, of those with a policy."""
    return f"{pattern}.{next(_numbers)}"


def subscribed(client: Client, queue: str, **headers: str) -> Client:
    """Subscribe a consumer that acknowledges each message, and return it."""
    subscribe(client, queue, ack="client-individual", **headers)
    return client


def letter_of(client: Client, body: bytes, queue: str = SHARED) -> Frame:
    """Wait for the dead letter with this body, and consume it; others stay where they are."""
    number = str(next(_numbers))
    subscribe(client, queue, id=number, ack="client-individual")
    while (letter := client.expect("MESSAGE")).body != body:
        pass
    accepted(ack(client, letter))
    accepted(client.ask("UNSUBSCRIBE", id=number))
    return letter


def unique(text: str = "poison") -> bytes:
    """Return a body that no other message has."""
    return f"{text} {next(_numbers)}".encode()


# What a dead letter says.


def test_it_says_where_it_came_from_and_why(connect: Connect, queue: str) -> None:
    """It is the message as it was, with its id, and it is nobody's second delivery."""
    body = unique()
    put(connect(), queue, body, color="red", persistent="true", type="t")
    client = subscribed(connect(), queue)
    message = client.expect("MESSAGE")
    client.send("NACK", **acknowledgement(client, message), requeue="true")
    accepted(nack(client, client.expect("MESSAGE", JMSXDeliveryCount="2")))
    letter = letter_of(client, body)
    ours = {"ack", "subscription", "destination", "original-destination"}
    said = {name: value for name, value in letter.headers.items() if name not in ours}
    assert said == {
        "dlqDeliveryFailureCause": "refused by a consumer (NACK)",
        **{name: value for name, value in message.headers.items() if name not in ours},
    }
    assert letter.headers["original-destination"] == queue
    assert letter.headers["destination"] == SHARED


def test_it_says_how_often_it_was_tried(connect: Connect) -> None:
    """When nobody refused it, and yet nobody finished it."""
    queue, body = f"/queue/{name_in('twice')}", unique()
    put(connect(), queue, body)
    client = subscribed(connect(), queue)
    for _ in range(2):
        client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), requeue="true")
    letter = letter_of(client, body)
    assert letter.headers["dlqDeliveryFailureCause"] == "delivered 2 times and never acknowledged"
    assert "redelivered" not in letter.headers
    assert "JMSXDeliveryCount" not in letter.headers


def test_it_does_not_expire(connect: Connect, queue: str) -> None:
    """A client that looks at `expires` must not throw it away; what it was stands beside."""
    body, expires = unique(), str(int(time.time() * 1000) + 3_600_000)
    put(connect(), queue, body, expires=expires)
    client = subscribed(connect(), queue)
    accepted(nack(client, client.expect("MESSAGE", expires=expires)))
    letter = letter_of(client, body)
    assert "expires" not in letter.headers
    assert letter.headers["originalExpiration"] == expires


def test_it_may_be_sent_back_with_all_its_headers(connect: Connect, queue: str) -> None:
    """A repair program copies what it got. Dying again, a message says nothing twice."""
    body = unique()
    put(connect(), queue, body, color="red")
    client = subscribed(connect(), queue)
    for _ in range(3):
        accepted(nack(client, client.expect("MESSAGE")))
        letter = letter_of(client, body)
        block = client.received[: client.received.rindex(body)].rpartition(b"MESSAGE\n")[2]
        names = [line.partition(b":")[0] for line in block.partition(b"\n\n")[0].split(b"\n")]
        assert len(names) == len(set(names)), names
        assert letter.headers["original-destination"] == queue
        again = {**letter.headers, "destination": letter.headers["original-destination"]}
        client.write(Frame("SEND", again, body).encode("1.2"))
    assert client.expect("MESSAGE").headers["color"] == "red"


def test_a_consumer_of_many_queues_leaves_letters_of_each(connect: Connect) -> None:
    """Where it came from is the queue, not the wildcard; and the letters' destination is theirs."""
    family = name_in("family")
    client = subscribed(connect(), f"/queue/{family}.*")
    first, second = unique(), unique()
    put(connect(), f"/queue/{family}.a", first)
    put(connect(), f"/queue/{family}.b", second)
    for message in take(client, 2):
        client.send("NACK", **acknowledgement(client, message))
    roaming = connect()
    subscribe(roaming, "/queue/ActiveMQ.>", ack="client-individual")
    origins: dict[bytes, str] = {}
    while set(origins) != {first, second}:
        letter = roaming.expect("MESSAGE", destination=SHARED)
        if letter.body in (first, second):
            origins[letter.body] = letter.headers["original-destination"]
    assert origins == {first: f"/queue/{family}.a", second: f"/queue/{family}.b"}


# What a NACK can ask for.


@pytest.mark.parametrize("wish", [{}, {"requeue": "false"}, {"requeue": "false", "delay": "100"}])
def test_refused_for_good(
    connect: Connect, later_version: str, queue: str, wish: dict[str, str]
) -> None:
    """NACK, and NACK with `requeue:false`, make a dead letter, as in ActiveMQ."""
    body = unique()
    put(connect(), queue, body)
    client = subscribed(connect(later_version), queue)
    accepted(nack(client, client.expect("MESSAGE"), **wish))
    assert letter_of(client, body).headers["original-destination"] == queue
    assert peek(connect(), queue) == []


def test_with_a_delay_it_comes_again_then_and_others_go_on(
    connect: Connect, later_version: str, queue: str
) -> None:
    """`delay:MS`: not before, not much later, marked and counted."""
    put(connect(), queue, b"1", b"2")
    client = subscribed(connect(later_version), queue, **{"activemq.prefetchSize": "1"})
    first = client.expect("MESSAGE")
    start = time.monotonic()
    client.send("NACK", **acknowledgement(client, first), delay="300")
    second = client.expect("MESSAGE")
    assert second.body == b"2"
    accepted(ack(client, second))
    again = client.expect("MESSAGE", redelivered="true", JMSXDeliveryCount="2")
    assert 0.29 <= time.monotonic() - start < 5
    assert again.body == b"1"
    assert again.headers["message-id"] == first.headers["message-id"]
    accepted(ack(client, again))
    assert peek(connect(), queue) == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_put_off_survives_the_broker(
    start_broker: StartBroker, connect: Connect, how: str
) -> None:
    """Neither lost, nor there twice, nor early."""
    broker = start_broker(linger=0.1)
    put(connect(to=broker), "/queue/a", b"1", color="red", priority="7")
    client = subscribed(connect(to=broker), "/queue/a")
    message = client.expect("MESSAGE")
    due = time.time() + 1
    accepted(nack(client, message, delay="1000"))
    client.close()
    broker.stop() if how == "stop" else broker.kill()
    broker = start_broker()
    client = subscribed(connect(to=broker), "/queue/a")
    again = client.expect("MESSAGE", redelivered="true", color="red", priority="7")
    assert time.time() >= due - 0.001  # the broker's moments are whole milliseconds
    assert again.headers["JMSXDeliveryCount"] == "2"
    assert again.headers["message-id"] == message.headers["message-id"]
    accepted(ack(client, again))
    assert peek(connect(to=broker), "/queue/a") == []


@pytest.mark.parametrize("delay", ["soon", "1.5", ""])
def test_a_delay_is_a_number(connect: Connect, queue: str, delay: str) -> None:
    """Else an ERROR, and the message stays where it is."""
    put(connect(), queue, b"1")
    client = subscribed(connect(), queue)
    message = client.expect("MESSAGE")
    expect_error(nack(client, message, delay=delay), f"Invalid delay: {delay}")
    accepted(ack(client, message))


# How often, and when.


def test_each_destination_waits_in_its_own_way(connect: Connect) -> None:
    """A fixed delay, and others of the queue are not held up by it."""
    queue = f"/queue/{name_in('delayed')}"
    put(connect(), queue, b"1", b"2")
    client = subscribed(connect(), queue)
    first, second = take(client, 2)
    start = time.monotonic()
    client.send("NACK", **acknowledgement(client, first), requeue="true")
    accepted(ack(client, second))
    again = client.expect("MESSAGE", redelivered="true")
    assert again.body == b"1"
    assert 0.19 <= time.monotonic() - start < 5


def test_each_delay_is_longer_up_to_a_limit(connect: Connect) -> None:
    """Back-off: 0.1, 0.3, then the longest that is allowed; in the end a dead letter."""
    queue, body = f"/queue/{name_in('backoff')}", unique()
    put(connect(), queue, body)
    client = subscribed(connect(), queue)
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), requeue="true")
    delays = []
    for _ in range(4):
        start = time.monotonic()
        message = client.expect("MESSAGE")
        delays.append(time.monotonic() - start)
        client.send("NACK", **acknowledgement(client, message), requeue="true")
    for delay, least in zip(delays, (0.1, 0.3, 0.4, 0.4), strict=True):
        assert least - 0.02 <= delay < least + 2
    letter_of(client, body)


def test_the_delay_of_the_nack_counts_more_than_that_of_the_policy(connect: Connect) -> None:
    """Who refuses a message knows best when to try again."""
    queue = f"/queue/{name_in('delayed')}"
    put(connect(), queue, b"1")
    client = subscribed(connect(), queue)
    start = time.monotonic()
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), delay="500")
    client.expect("MESSAGE")
    assert time.monotonic() - start >= 0.49


def test_no_second_try(connect: Connect) -> None:
    """With `max_redeliveries = 0` whatever fails is a dead letter, whatever the client asks for."""
    queue, body = f"/queue/{name_in('once')}", unique()
    put(connect(), queue, body)
    client = subscribed(connect(), queue)
    accepted(nack(client, client.expect("MESSAGE"), requeue="true", delay="10"))
    letter = letter_of(client, body)
    assert letter.headers["dlqDeliveryFailureCause"] == "delivered 1 times and never acknowledged"


def test_as_often_as_it_takes(start_broker: StartBroker, connect: Connect) -> None:
    """With `max_redeliveries = -1` nothing is given up, unless it is refused."""
    broker = start_broker(max_redeliveries=-1)
    put(connect(to=broker), "/queue/a", b"1")
    client = subscribed(connect(to=broker), "/queue/a")
    for number in range(1, 301):
        message = client.expect("MESSAGE")
        assert message.headers.get("JMSXDeliveryCount", "1") == str(number)
        client.send("NACK", **acknowledgement(client, message), requeue="true")
    accepted(nack(client, client.expect("MESSAGE")))
    letter_of(client, b"1")


# Where dead letters go.


def test_a_queue_of_its_own(connect: Connect) -> None:
    """`DLQ.{name}`: the dead letters of each queue apart."""
    name, body = name_in("own"), unique()
    put(connect(), f"/queue/{name}", body)
    client = subscribed(connect(), f"/queue/{name}")
    accepted(nack(client, client.expect("MESSAGE")))
    letter = letter_of(client, body, f"/queue/DLQ.{name}")
    assert letter.headers["original-destination"] == f"/queue/{name}"
    assert peek(connect(), f"/queue/DLQ.{name}") == []


def test_no_dead_letters(connect: Connect) -> None:
    """An empty `dead_letter_queue` drops what fails."""
    queue, body = f"/queue/{name_in('dropped')}", unique()
    put(connect(), queue, body)
    client = subscribed(connect(), queue)
    accepted(nack(client, client.expect("MESSAGE")))
    assert peek(connect(), queue) == []
    assert body not in peek(connect(), SHARED)


def test_a_queue_cannot_be_its_own_dead_letter_queue(connect: Connect) -> None:
    """What fails there is gone, as anything that fails among dead letters."""
    queue = f"/queue/{name_in('same')}"
    put(connect(), queue, b"1")
    client = subscribed(connect(), queue)
    accepted(nack(client, client.expect("MESSAGE")))
    assert client.silent()
    assert peek(connect(), queue) == []


def test_what_is_not_persistent_leaves_no_letter_unless_the_policy_says_so(
    connect: Connect, queue: str
) -> None:
    """As in ActiveMQ; such a letter is stored, and says what it was."""
    for destination, kept in ((queue, False), (f"/queue/{name_in('fleeting')}", True)):
        body = unique("fleeting")
        put(connect(), destination, body, persistent="false")
        client = subscribed(connect(), destination)
        accepted(nack(client, client.expect("MESSAGE")))
        if kept:
            assert letter_of(client, body).headers["originalDeliveryMode"] == "NON_PERSISTENT"
        else:
            assert body not in peek(connect(), SHARED)


def test_dead_letters_may_have_a_lifetime(server: BrokerProcess, connect: Connect) -> None:
    """`dead_letter_ttl`; what expires there is gone, not buried again."""
    name, body = name_in("dying"), unique()
    put(connect(), f"/queue/{name}", body)
    client = subscribed(connect(), f"/queue/{name}")
    before = int(time.time() * 1000)
    accepted(nack(client, client.expect("MESSAGE")))
    subscribe(client, f"/queue/dead.{name}", id="letters", ack="client")
    letter = client.expect("MESSAGE")
    assert before <= int(letter.headers["expires"]) - 200 <= int(time.time() * 1000)
    accepted(client.ask("UNSUBSCRIBE", id="letters"))
    let_pass(server, 0.4)
    assert peek(connect(), f"/queue/dead.{name}") == []
    assert body not in peek(connect(), SHARED)


# Dead letters that fail again.


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_a_letter_that_is_refused_is_gone(connect: Connect, queue: str, kind: str) -> None:
    """It does not come back, and it does not come twice."""
    name = name_in("own")
    source, letters = (
        (queue, SHARED) if kind == "shared" else (f"/queue/{name}", f"/queue/DLQ.{name}")
    )
    body = unique()
    put(connect(), source, body)
    client = subscribed(connect(), source)
    accepted(nack(client, client.expect("MESSAGE")))
    subscribe(client, letters, id="dead", ack="client-individual")
    while (letter := client.expect("MESSAGE")).body != body:
        pass
    accepted(nack(client, letter))
    accepted(client.ask("UNSUBSCRIBE", id="dead"))
    for destination in (letters, SHARED, f"/queue/DLQ.DLQ.{name}", source):
        assert body not in peek(connect(), destination)


def test_a_letter_has_its_own_tries(connect: Connect) -> None:
    """It begins anew to count, and after as many it is gone."""
    name, body = name_in("own"), unique()
    put(connect(), f"/queue/{name}", body)
    client = subscribed(connect(), f"/queue/{name}")
    for _ in range(2):
        client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), requeue="true")
    subscribe(client, f"/queue/DLQ.{name}", id="dead", ack="client-individual")
    for _ in range(2):
        client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")), requeue="true")
    assert client.silent()
    accepted(client.ask("UNSUBSCRIBE", id="dead"))
    assert peek(connect(), f"/queue/DLQ.{name}") == []


def test_letters_are_known_as_such_after_a_restart(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Also those in queues of their own: what is refused there then is gone."""
    settings = {'destination."own.>".dead_letter_queue': "DLQ.{name}"}
    broker = start_broker(**settings)
    for name in ("own.a", "b"):
        put(connect(to=broker), f"/queue/{name}", b"poison")
        client = subscribed(connect(to=broker), f"/queue/{name}")
        accepted(nack(client, client.expect("MESSAGE")))
    broker.kill()
    broker = start_broker(**settings)
    for letters in ("DLQ.own.a", "ActiveMQ.DLQ"):
        client = subscribed(connect(to=broker), f"/queue/{letters}")
        accepted(nack(client, client.expect("MESSAGE")))
    for name in ("own.a", "b", "DLQ.own.a", "DLQ.DLQ.own.a", "ActiveMQ.DLQ"):
        assert peek(connect(to=broker), f"/queue/{name}") == []


# Topics.


def test_what_a_subscriber_of_a_topic_refuses(connect: Connect, topic: str) -> None:
    """It is gone for that subscriber and nobody else."""
    refusing, other = subscribed(connect(), topic), subscribed(connect(), topic)
    body = unique()
    put(connect(), topic, body)
    accepted(nack(refusing, refusing.expect("MESSAGE")))
    assert other.expect("MESSAGE").body == body
    assert refusing.silent()
    assert body not in peek(connect(), SHARED)


def test_a_subscriber_of_a_topic_may_ask_again(connect: Connect, topic: str) -> None:
    """At once or later; only it gets the message again."""
    asking, other = subscribed(connect(), topic), subscribed(connect(), topic)
    put(connect(), topic, b"1")
    message, theirs = asking.expect("MESSAGE"), other.expect("MESSAGE")
    asking.send("NACK", **acknowledgement(asking, message), requeue="true")
    again = asking.expect("MESSAGE", redelivered="true", JMSXDeliveryCount="2")
    start = time.monotonic()
    asking.send("NACK", **acknowledgement(asking, again), delay="200")
    last = asking.expect("MESSAGE", redelivered="true", JMSXDeliveryCount="3")
    assert time.monotonic() - start >= 0.19
    accepted(ack(asking, last))
    accepted(nack(other, theirs))
    assert asking.silent()
    assert other.silent()


def test_a_subscriber_that_has_gone_does_not_get_what_it_put_off(
    server: BrokerProcess, connect: Connect, topic: str
) -> None:
    """And its next subscription does not either."""
    client = subscribed(connect(), topic)
    put(connect(), topic, b"1")
    accepted(nack(client, client.expect("MESSAGE"), delay="50"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    subscribe(client, topic)
    let_pass(server, 0.1)
    assert client.silent()


def test_what_a_topic_loses_may_be_kept(connect: Connect) -> None:
    """With `dead_letter_non_persistent` a dead letter says which topic it was."""
    topic, body = f"/topic/{name_in('fleeting')}", unique()
    client = subscribed(connect(), f"{topic},{topic}.other")
    put(connect(), f"{topic}.other", body)
    accepted(nack(client, client.expect("MESSAGE")))
    letter = letter_of(client, body)
    assert letter.headers["original-destination"] == f"{topic}.other"


def test_what_a_durable_subscriber_refuses_is_kept(connect: Connect, topic: str) -> None:
    """Each of them: what one cannot use another may have used. It says which topic it was."""
    body, clients = unique(), []
    for number in range(2):
        client = connect(client_id=f"{topic} {number}")
        subscribed(client, topic, **{"activemq.subscriptionName": "n"})
        clients.append(client)
    put(connect(), topic, body)
    first, second = clients
    for delivery in ("1", "2"):
        message = first.expect("MESSAGE")
        assert message.headers.get("JMSXDeliveryCount", "1") == delivery
        if delivery == "1":
            first.send("NACK", **acknowledgement(first, message), delay="20")
    accepted(nack(first, message))
    assert letter_of(connect(), body).headers["original-destination"] == topic
    accepted(ack(second, second.expect("MESSAGE")))
    assert body not in peek(connect(), SHARED)
    assert first.silent()


# Transactions.


@pytest.mark.parametrize("wish", [{}, {"requeue": "true"}, {"delay": "20"}])
def test_a_refusal_in_a_transaction_is_done_at_commit(
    connect: Connect, later_version: str, queue: str, wish: dict[str, str]
) -> None:
    """Together with what else is in it."""
    body = unique()
    put(connect(), queue, body)
    client = subscribed(connect(later_version), queue)
    message = client.expect("MESSAGE")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(nack(client, message, transaction="t", **wish))
    client.send("SEND", b"report", destination=f"{queue}.report", transaction="t")
    assert client.silent()
    assert body not in peek(connect(), SHARED)
    client.send("COMMIT", transaction="t")
    if wish:
        again = client.expect("MESSAGE", redelivered="true", JMSXDeliveryCount="2")
        accepted(ack(client, again))
    else:
        assert letter_of(client, body).headers["original-destination"] == queue
    assert drain(connect(), f"{queue}.report") == [b"report"]


@pytest.mark.parametrize("wish", [{}, {"requeue": "true"}, {"delay": "1"}])
def test_a_refusal_that_is_aborted_was_none(
    connect: Connect, later_version: str, queue: str, wish: dict[str, str]
) -> None:
    """The consumer still has the message, and can do with it what it likes."""
    put(connect(), queue, b"1")
    client = subscribed(connect(later_version), queue)
    message = client.expect("MESSAGE")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(nack(client, message, transaction="t", **wish))
    accepted(client.ask("ABORT", transaction="t"))
    assert client.silent()
    accepted(ack(client, message))
    assert peek(connect(), queue) == []


# A consumer that dies on a message.


def hang_up(client: Client) -> None:
    """End a client as a crash does."""
    client.close()


def break_the_protocol(client: Client) -> None:
    """End a client by its own fault: what it says cannot be understood."""
    client.write(b"NONSENSE\n\n\0")
    while client.frame().command == "MESSAGE":  # others were waiting behind it
        pass
    client.expect_closed()
    client.close()


@pytest.mark.parametrize("die", [hang_up, break_the_protocol])
def test_a_message_that_kills_its_consumers_does_not_take_the_queue_down(
    connect: Connect, version: str, queue: str, die: object
) -> None:
    """After six more tries it is a dead letter; all others are delivered, in order, by the seventh."""
    assert callable(die)
    poison = unique()
    put(connect(), queue, b"0", poison, b"2", b"3")
    done = []
    for death in range(8):
        client = subscribed(connect(version), queue)
        while True:
            message = client.expect("MESSAGE")
            if message.body == poison:
                counted = message.headers.get("JMSXDeliveryCount", "1")
                assert counted == str(death + 1)
                die(client)
                break
            accepted_others(client, message)
            done.append(message.body)
            if message.body == b"3":
                break
        if done[-1] == b"3":
            break
    assert done == [b"0", b"2", b"3"]
    assert death == 7
    letter = letter_of(connect(), poison)
    assert letter.headers["dlqDeliveryFailureCause"] == "delivered 7 times and never acknowledged"


def accepted_others(client: Client, message: Frame) -> None:
    """Acknowledge a message while more may come."""
    client.send("ACK", **acknowledgement(client, message))


def test_only_the_oldest_is_to_blame(connect: Connect, version: str) -> None:
    """The others were waiting behind it."""
    queue, poison = f"/queue/{name_in('twice')}", unique()
    put(connect(), queue, poison, b"1", b"2")
    for _ in range(2):
        client = subscribed(connect(version), queue)
        take(client, 3)
        client.close()
    client = subscribed(connect(version), queue)
    first, second = take(client, 2)
    assert bodies([first, second]) == [b"1", b"2"]
    assert first.headers["redelivered"] == second.headers["redelivered"] == "true"
    assert "JMSXDeliveryCount" not in first.headers
    letter_of(client, poison)


@pytest.mark.parametrize("end", ["UNSUBSCRIBE", "DISCONNECT"])
def test_who_says_goodbye_has_not_failed(connect: Connect, version: str, end: str) -> None:
    """However often it leaves messages behind."""
    queue = f"/queue/{name_in('once')}"
    put(connect(), queue, b"1")
    for _ in range(10):
        client = subscribed(connect(version), queue)
        message = client.expect("MESSAGE")
        assert "JMSXDeliveryCount" not in message.headers
        accepted(client.ask(end, **({"id": "s"} if end == "UNSUBSCRIBE" else {})))
    assert drain(connect(), queue) == [b"1"]


def test_a_broker_that_stops_is_nobodys_failure(
    start_broker: StartBroker, connect: Connect
) -> None:
    """A restart during the work costs no try, nor does a crash of the broker."""
    settings: dict[str, object] = {"max_redeliveries": 0, "linger": 0.1}
    broker = start_broker(**settings)
    put(connect(to=broker), "/queue/a", b"1")
    for how in ("stop", "kill", "stop"):
        client = subscribed(connect(to=broker), "/queue/a")
        client.expect("MESSAGE")
        broker.stop() if how == "stop" else broker.kill()
        client.close()
        broker = start_broker(**settings)
    client = subscribed(connect(to=broker), "/queue/a")
    message = client.expect("MESSAGE", redelivered="true")
    assert "JMSXDeliveryCount" not in message.headers


def test_failures_are_counted_over_restarts(start_broker: StartBroker, connect: Connect) -> None:
    """A poison message does not get its tries back with each restart."""
    broker = start_broker(max_redeliveries=2)
    put(connect(to=broker), "/queue/a", b"poison", b"1")
    for delivery in range(1, 4):
        client = subscribed(connect(to=broker), "/queue/a")
        message = client.expect("MESSAGE")
        assert message.headers.get("JMSXDeliveryCount", "1") == str(delivery)
        client.close()
        other = connect(to=broker)
        subscribe(other, "/queue/a", ack="client", **{"activemq.prefetchSize": "1"})
        other.expect("MESSAGE")
        other.send("DISCONNECT", receipt="bye")
        other.expect("RECEIPT")
        put(connect(to=broker), "/queue/b", b"")  # so that what went before is on disk
        broker.kill()
        broker = start_broker(max_redeliveries=2)
    assert drain(connect(to=broker), "/queue/a") == [b"1"]
    assert drain(connect(to=broker), SHARED) == [b"poison"]


def test_a_consumer_whose_heart_stops_has_failed(connect: Connect) -> None:
    """It hangs in the work on a message, for one."""
    queue, poison = f"/queue/{name_in('once')}", unique()
    put(connect(), queue, poison)
    client = subscribed(connect(heart_beat="100,0"), queue)
    client.expect("MESSAGE")
    letter_of(connect(), poison)


def test_whoever_has_nothing_in_hand_has_not_failed(connect: Connect) -> None:
    """Neither with ack:auto, nor after the last ACK."""
    queue = f"/queue/{name_in('once')}"
    put(connect(), queue, b"1", b"2", b"3")
    client = connect()
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    message = client.expect("MESSAGE")
    client.send("UNSUBSCRIBE", id="s")
    accepted(client.ask("BEGIN", transaction="t"))
    client.close()
    assert message.body == b"1"
    assert drain(connect(), queue) == [b"1", b"2", b"3"]


def peek(client: Client, queue: str) -> list[bytes]:
    """Return what waits in a queue, and leave it there."""
    subscribe(client, queue, id="peek", browser="true")
    found = []
    while (message := client.expect("MESSAGE")).headers.get("browser") != "end":
        found.append(message.body)
    accepted(client.ask("UNSUBSCRIBE", id="peek"))
    assert is_served(client)
    return found
