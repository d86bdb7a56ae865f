"""Administering the broker over its own wire: remote calls to the service `broker`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.harness import PASSCODE, Client, write_users
from tests.scenarios.administrator import (
    FORBIDDEN,
    INVALID_PARAMS,
    QUEUE,
    REFUSED,
    REPLIES,
    TOPIC,
    Administrator,
    Fault,
)
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    bodies,
    drain,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

DLQ = "ActiveMQ.DLQ"
PING = b'{"jsonrpc":"2.0","method":"rpc.ping","id":1}'


@pytest.fixture
def admin(connect: Connect) -> Administrator:
    """Return somebody who administers the common broker."""
    return Administrator(connect())


@pytest.fixture
def name(queue: str) -> str:
    """Return the name of a queue that nobody else uses."""
    return queue.removeprefix("/queue/")


def number_of(admin: Administrator, name: str) -> int:
    """Return how many messages wait in a queue."""
    waiting: int = admin.call("queue", name)["waiting"]
    return waiting


def ids(admin: Administrator, name: str) -> list[str]:
    """Return the ids of what waits in a queue."""
    return [message["id"] for message in admin.call("browse", name)["messages"]]


def fails(
    admin: Administrator, code: int, text: str, method: str, *params: Any, **named: Any
) -> Fault:
    """Check that a call ends in an error with a code and a text."""
    with pytest.raises(Fault, match=text) as caught:
        admin.call(method, *params, **named)
    assert caught.value.code == code
    return caught.value


# --- who may, and how one asks ---------------------------------------------------------------------


def test_the_answer_is_written_like_a_workers(admin: Administrator) -> None:
    """It repeats correlation-id, expiry and persistence, and comes in the request's content-type."""
    expires = str(int(time.time() * 1000) + 60_000)
    headers = {"correlation-id": "a:b", "expires": expires, "persistent": "true"}
    answer = admin.ask(PING, **headers)
    assert headers.items() <= answer.headers.items()
    assert answer.headers["content-type"] == "application/json"
    assert "worker" not in answer.headers
    assert json.loads(answer.body) == {"jsonrpc": "2.0", "result": "pong", "id": 1}


def test_what_is_asked_of_all_workers_says_who_answers(admin: Administrator) -> None:
    """A broadcast reaches the broker too, and it gives its name."""
    answer = admin.ask(PING, TOPIC)
    assert answer.headers["worker"] == admin.call("info")["node"]
    assert admin.call("rpc.describe")["worker"] == answer.headers["worker"]


def test_msgpack_is_answered_in_msgpack(admin: Administrator) -> None:
    import msgspec

    request = {"jsonrpc": "2.0", "method": "queues", "params": ["no.such.>"], "id": 7}
    answer = admin.ask(msgspec.msgpack.encode(request), **{"content-type": "application/msgpack"})
    assert answer.headers["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(answer.body) == {"jsonrpc": "2.0", "result": [], "id": 7}


def test_a_batch_is_done_in_order(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, b"1", b"2")
    batch = [
        {"jsonrpc": "2.0", "method": "purge", "params": [name], "id": 1},
        {"jsonrpc": "2.0", "method": "rpc.ping"},
        {"jsonrpc": "2.0", "method": "queue", "params": {"name": name}, "id": 2},
        {"jsonrpc": "2.0", "method": "nonsense", "id": 3},
    ]
    first, second, third = json.loads(admin.ask(json.dumps(batch).encode()).body)
    assert first["result"] == {"removed": 2}
    assert second["result"]["waiting"] == 0
    assert third["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc":"2.0","method":"purge","id":1}', -32602),
        (b'{"jsonrpc":"2.0","method":"purge","params":[7],"id":1}', -32602),
        (rb'{"jsonrpc":"2.0","method":"tracked","params":["\ud800"],"id":1}', -32602),
        (b'{"jsonrpc":"2.0","method":"format_disk","id":1}', -32601),
        (b'"%b"' % bytes(1024 * 1024), -32600),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_request_is_answered_and_disturbs_nobody(
    admin: Administrator, body: bytes, code: int
) -> None:
    assert json.loads(admin.ask(body).body)["error"]["code"] == code
    assert is_served(admin.client)


def test_without_reply_to_it_is_just_obeyed(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, b"1")
    admin.tell(json.dumps({"jsonrpc": "2.0", "method": "purge", "params": [name]}).encode())
    assert number_of(admin, name) == 0


def test_what_has_expired_is_not_obeyed(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, b"1")
    purge = json.dumps({"jsonrpc": "2.0", "method": "purge", "params": [name], "id": 1}).encode()
    admin.tell(purge, expires=str(int(time.time() * 1000) - 1), **{"reply-to": REPLIES})
    assert number_of(admin, name) == 1


def test_a_receipt_says_that_the_request_has_come(admin: Administrator) -> None:
    admin.tell(PING, receipt="r")
    admin.client.expect("RECEIPT", receipt_id="r")


def test_the_broker_does_not_talk_to_itself(admin: Administrator) -> None:
    """An answer that would go to the broker itself is dropped."""
    for destination in (QUEUE, TOPIC, "/queue/ActiveMQ.Statistics.Broker"):
        admin.tell(PING, **{"reply-to": destination})
    assert admin.call("rpc.ping") == "pong"
    assert is_served(admin.client)


@pytest.mark.parametrize("people", ["@administrators", "alice, bob"])
def test_administrators_only(
    start_broker: StartBroker, connect: Connect, queue: str, tmp_path: Path, people: str
) -> None:
    """Those who are named, or of a group that is; the others may only ping and ask what there is."""
    users = write_users(tmp_path, alice="administrators", bob="a,administrators", eve="alice")
    broker = start_broker(users=users, anonymous=True, administrators=people)
    name = queue.removeprefix("/queue/")
    put(connect(to=broker), queue, b"1")
    for login in ("alice", "bob"):
        admin = connect(to=broker, login=login, passcode=PASSCODE)
        assert Administrator(admin).call("queues")
    for login in ("", "eve"):
        stranger = Administrator(connect(to=broker, login=login, passcode=PASSCODE))
        fails(stranger, FORBIDDEN, "purge is for administrators", "purge", name)
        fails(stranger, FORBIDDEN, "queues is for administrators", "queues")
        assert stranger.call("rpc.ping") == "pong"
        assert "purge" in [each["name"] for each in stranger.call("rpc.describe")["methods"]]
        assert is_served(stranger.client)


def test_what_the_schedule_sends_is_nobodys(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """A request that comes later has no login any more."""
    broker = start_broker(users=write_users(tmp_path, alice="administrators"))
    alice = Administrator(connect(to=broker, login="alice", passcode=PASSCODE))
    request = b'{"jsonrpc":"2.0","method":"queues","id":1}'
    answer = alice.ask(request, AMQ_SCHEDULED_DELAY="10")
    assert json.loads(answer.body)["error"]["code"] == FORBIDDEN


def test_every_method_is_described(admin: Administrator) -> None:
    """Names, signatures and docs; and the page about administration has a row for each."""
    methods = admin.call("rpc.describe")["methods"]
    page = (Path(__file__).parents[2] / "docs" / "administration.md").read_text()
    for method in methods:
        assert method["doc"], method
        assert f"`{method['name']}(" in page, method["name"]
    assert {"queues", "purge", "retry", "info"} <= {method["name"] for method in methods}


def test_it_counts_what_it_does(admin: Administrator) -> None:
    before = admin.call("rpc.stats")
    fails(admin, INVALID_PARAMS, "no queue", "purge", "no.such.queue")
    after = admin.call("rpc.stats")
    assert after["calls"] == before["calls"] + 2
    assert after["methods"]["purge"]["errors"]["-32602"] >= 1


# --- looking ---------------------------------------------------------------------------------------


def test_queues_by_pattern(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, b"1", b"2")
    subscribe(admin.client, f"{queue}.b", id="b")
    assert [each["name"] for each in admin.call("queues", f"{name}.>")] == [name, f"{name}.b"]
    [plain] = admin.call("queues", pattern=name)
    assert plain == admin.call("queues", queue)[0]
    assert (plain["waiting"], plain["enqueued"], plain["consumers"]) == (2, 2, 0)
    assert admin.call("queue", f"{name}.b")["subscriptions"][0]["id"] == "b"
    assert len(admin.call("queues", temporary=True)) >= 1
    assert admin.call("queues", "nobody.has.this") == []


def test_topics_by_pattern(admin: Administrator, connect: Connect, topic: str) -> None:
    name = topic.removeprefix("/topic/")
    subscribe(connect(), topic, id="t")
    put(admin.client, topic, b"1")
    [found] = admin.call("topics", name)
    assert (found["name"], found["consumers"], found["enqueued"]) == (name, 1, 1)
    told = admin.call("topic", topic)
    assert [each["id"] for each in told["subscriptions"]] == ["t"]
    fails(admin, INVALID_PARAMS, "there is no topic", "topic", "no.such.topic")


def test_connections_and_what_they_hold(admin: Administrator, connect: Connect, queue: str) -> None:
    other = connect("1.1", login="carol", client_id=f"of {queue}")
    subscribe(other, queue, id="mine", ack="client", selector="a = 1 OR a IS NULL")
    accepted(other.ask("BEGIN", transaction="t1"))
    put(admin.client, queue, b"1", b"2")
    take(other, 2)
    id = other.connected.headers["session"]
    [found] = [each for each in admin.call("connections") if each["id"] == id]
    assert found["login"] == "carol"
    assert found["client_id"] == f"of {queue}"
    assert found["version"] == "1.1"
    assert found["address"] == "{}:{}".format(*other.socket.getsockname())
    told = admin.call("connection", id)
    assert told["transactions"] == ["t1"]
    [subscription] = told["subscriptions"]
    assert subscription["in_flight"] == 2
    assert subscription["selector"] == "a = 1 OR a IS NULL"
    assert admin.call("subscriptions", queue) == [subscription]
    assert subscription in admin.call("subscriptions")
    fails(admin, INVALID_PARAMS, "id: there is no connection", "connection", "nobody")


def test_services_with_their_workers(admin: Administrator, connect: Connect) -> None:
    """A service is a queue with a name; where replies wait is none."""
    worker = connect()
    subscribe(worker, "/queue/rpc.scenario.demo", id="w", ack="client-individual")
    put(admin.client, "/queue/rpc.scenario.demo", b"{}")
    take(worker, 1)
    put(admin.client, "/queue/rpc.scenario.idle", b"{}", b"{}")
    put(admin.client, "/queue/rpc.reply.scenario", b"{}")
    found = {each["name"]: each for each in admin.call("services")}
    assert found["broker"]["workers"] == 1
    assert (found["scenario.demo"]["workers"], found["scenario.demo"]["in_flight"]) == (1, 1)
    assert (found["scenario.idle"]["workers"], found["scenario.idle"]["waiting"]) == (0, 2)
    assert not any(each.startswith("reply") for each in found)


def test_the_broker_tells_what_it_is(start_broker: StartBroker, connect: Connect) -> None:
    broker = start_broker(max_redeliveries=3, **{'destination."a.>".prefetch': 7})
    admin = Administrator(connect(to=broker))
    info = admin.call("info")
    assert info["product"] == "hoofbeat"
    assert info["url"] == broker.url
    assert info["connections"] == 1
    assert 0 <= info["uptime"] < 60
    settings = admin.call("settings")
    assert settings["max_redeliveries"]["value"] == 3
    assert settings["max_redeliveries"]["default"] == 6
    assert settings["destination"] == [{"pattern": "a.>", "prefetch": 7}]


def test_counting_begins_anew(start_broker: StartBroker, connect: Connect, queue: str) -> None:
    admin = Administrator(connect(to=start_broker()))
    put(admin.client, queue, b"1")
    assert admin.call("queues", ">")[0]["enqueued"] == 1
    admin.call("reset_statistics")
    [found] = admin.call("queues", ">")
    assert (found["enqueued"], found["waiting"], found["dequeued"]) == (0, 1, 0)


# --- messages --------------------------------------------------------------------------------------


def test_browsing_page_by_page(admin: Administrator, queue: str, name: str) -> None:
    """By priority and age, taking nothing; `next` leads on."""
    put(admin.client, queue, *[b"%d" % n for n in range(5)], kind="even")
    put(admin.client, queue, b"urgent", priority="9")
    page = admin.call("browse", queue=name, limit=4)
    assert [each["body"] for each in page["messages"]] == ["urgent", "0", "1", "2"]
    rest = admin.call("browse", queue=name, limit=4, after=page["next"])
    assert [each["body"] for each in rest["messages"]] == ["3", "4"]
    assert rest["next"] is None
    even = admin.call("browse", queue=name, selector="kind = 'even'")
    assert len(even["messages"]) == 5
    assert even["messages"][0]["headers"]["kind"] == "even"
    assert number_of(admin, name) == 6
    fails(admin, INVALID_PARAMS, "after", "browse", queue=name, after="here")
    fails(admin, INVALID_PARAMS, "limit", "browse", queue=name, limit=0)
    fails(admin, INVALID_PARAMS, "selector", "browse", queue=name, selector="kind = = 1")
    fails(admin, INVALID_PARAMS, "queue: there is no queue", "browse", queue="no.such.queue")


def test_bodies_are_shown_as_text_or_base64(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, "Grüße".encode(), b"\xff\0", "ä".encode() * 10)
    text, binary, cut = admin.call("browse", queue=name, body_bytes=9)["messages"]
    assert (text["body"], text["encoding"], text["truncated"]) == ("Grüße", "utf-8", False)
    assert (binary["body"], binary["encoding"], binary["size"]) == ("/wA=", "base64", 2)
    assert (cut["body"], cut["size"], cut["truncated"]) == ("ääää", 20, True)
    assert admin.call("message", name, cut["id"])["body"] == "ä" * 10
    fails(admin, INVALID_PARAMS, "id: no message", "message", name, "nobody-1")


def test_purging(admin: Administrator, connect: Connect, queue: str, name: str) -> None:
    """All, or what a selector means; what a consumer has stays with it."""
    worker = connect()
    put(admin.client, queue, b"held")
    headers = {"activemq.prefetchSize": "1"}
    subscribe(worker, queue, ack="client-individual", **headers)
    [held] = take(worker, 1)
    put(admin.client, queue, b"1", b"2", kind="a")
    put(admin.client, queue, b"3", priority="7")
    put(admin.client, queue, b"4", persistent="false")
    assert admin.call("purge", queue=name, selector="kind = 'a'") == {"removed": 2}
    assert admin.call("purge", name) == {"removed": 2}
    assert admin.call("queue", name)["in_flight"] == 1
    accepted(worker.ask("ACK", id_=held.headers["ack"]))
    assert worker.silent()
    assert number_of(admin, name) == 0


def test_who_makes_room_is_heard_though_memory_is_full(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    broker = start_broker(memory_limit=10_000)
    admin, producer = Administrator(connect(to=broker)), connect(to=broker)
    sent = {"destination": queue, "persistent": "false"}
    while producer.ask("SEND", bytes(900), **sent).command == "RECEIPT":
        pass
    assert admin.call("purge", queue)["removed"] > 5
    accepted(producer.ask("SEND", bytes(900), **sent))


def test_removing_one(admin: Administrator, queue: str, name: str) -> None:
    put(admin.client, queue, b"1", b"2", b"3")
    assert admin.call("remove", name, ids(admin, name)[1]) == {"removed": 1}
    assert drain(admin.client, queue) == [b"1", b"3"]
    fails(admin, INVALID_PARAMS, "id: no message", "remove", name, "nobody-1")


def test_moving(admin: Administrator, queue: str, name: str) -> None:
    """Oldest first, as they are; others stay."""
    put(admin.client, queue, b"1", b"2", b"3", kind="a")
    put(admin.client, queue, b"4")
    [first, *_] = ids(admin, name)
    moved = admin.call("move", queue=name, to=f"{queue}.b", selector="kind = 'a'", limit=2)
    assert moved == {"moved": 2}
    [message, _] = admin.call("browse", f"{name}.b")["messages"]
    assert message["id"] == first
    assert message["headers"]["kind"] == "a"
    assert drain(admin.client, queue) == [b"3", b"4"]
    assert drain(admin.client, f"{queue}.b") == [b"1", b"2"]


def test_copying(admin: Administrator, connect: Connect, queue: str, name: str, topic: str) -> None:
    listener = connect()
    subscribe(listener, topic, id="t")
    put(admin.client, queue, b"1", b"2")
    assert admin.call("copy", queue=name, to=f"{name}.b", limit=1) == {"copied": 1}
    assert admin.call("copy", name, topic) == {"copied": 2}
    assert bodies(take(listener, 2)) == [b"1", b"2"]
    assert admin.call("move", name, topic) == {"moved": 2}
    assert bodies(take(listener, 2)) == [b"1", b"2"]
    assert number_of(admin, name) == 0
    assert drain(admin.client, f"{queue}.b") == [b"1"]


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("", "to:"),
        ("/queue/", "to:"),
        ("/queue/a.>", "to: one queue or topic"),
        ("/queue/a,/queue/b", "to: one queue or topic"),
        (QUEUE, "to: .* answers what is sent there"),
        ("/remote-temp-queue/nobody", "to:"),
        ("/temp-queue/mine", "to:"),
    ],
)
def test_where_nothing_can_be_moved(
    admin: Administrator, queue: str, name: str, to: str, text: str
) -> None:
    put(admin.client, queue, b"1")
    fails(admin, INVALID_PARAMS, text, "move", name, to)
    fails(admin, INVALID_PARAMS, "to: the messages are there", "move", name, queue)
    assert number_of(admin, name) == 1


def test_a_full_queue_takes_no_more(start_broker: StartBroker, connect: Connect) -> None:
    """The error tells how many have been moved; these are there, the others here."""
    admin = Administrator(connect(to=start_broker(**{'destination."small".max_messages': 2})))
    put(admin.client, "/queue/large", b"1", b"2", b"3")
    fault = fails(admin, REFUSED, "small is full", "move", "large", "small")
    assert fault.data == {"moved": 2}
    assert (number_of(admin, "large"), number_of(admin, "small")) == (1, 2)


def test_dead_letters_are_tried_again(
    start_broker: StartBroker, connect: Connect, queue: str, name: str
) -> None:
    """They go back to where they failed and are as they were; who has no home stays."""
    broker = start_broker()
    admin, worker = Administrator(connect(to=broker)), connect(to=broker)
    put(admin.client, queue, b"1", b"2", b"3", kind="a")
    put(admin.client, f"/queue/{DLQ}", b"a stray")
    subscribe(worker, queue, ack="client-individual")
    for message in take(worker, 3):
        accepted(nack(worker, message))
    letters = admin.call("browse", DLQ)["messages"]
    assert [each["body"] for each in letters] == ["a stray", "1", "2", "3"]
    assert admin.call("retry", id=letters[2]["id"]) == {"retried": 1, "skipped": 0}
    [again] = take(worker, 1)
    assert again.body == b"2"
    assert again.headers["kind"] == "a"
    assert again.headers["message-id"] == letters[2]["id"]
    assert again.headers.get("redelivered") != "true"
    assert not {"original-destination", "dlqDeliveryFailureCause"} & again.headers.keys()
    assert admin.call("retry") == {"retried": 2, "skipped": 1}
    assert bodies(take(worker, 2)) == [b"1", b"3"]
    assert [each["body"] for each in admin.call("browse", DLQ)["messages"]] == ["a stray"]
    fails(admin, INVALID_PARAMS, "id: no message", "retry", id="nobody-1")


def test_what_had_expired_is_tried_again_without_an_expiry(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    broker = start_broker(sweep_every=0.05)
    admin = Administrator(connect(to=broker))
    put(admin.client, queue, b"late", expires=str(int(time.time() * 1000) + 50))
    while DLQ not in [each["name"] for each in admin.call("queues")]:
        pass
    assert admin.call("retry") == {"retried": 1, "skipped": 0}
    [message] = admin.call("browse", queue)["messages"]
    assert message["expires"] is None
    assert "originalExpiration" not in message["headers"]


# --- destinations, connections, the schedule --------------------------------------------------------


def test_deleting_a_queue(admin: Administrator, connect: Connect, queue: str, name: str) -> None:
    """Not while somebody would miss it, unless forced; then its consumers' connections end."""
    put(admin.client, queue, b"1", b"2")
    worker, bystander = connect(), connect()
    headers = {"activemq.prefetchSize": "1"}
    subscribe(worker, queue, ack="client-individual", **headers)
    take(worker, 1)
    fault = fails(admin, REFUSED, "1 messages that wait, 1 in flight", "delete_queue", name)
    assert fault.data == {"waiting": 1, "in_flight": 1, "consumers": 1}
    assert admin.call("delete_queue", name=name, force=True) == {"removed": 2}
    assert "was deleted" in worker.expect("ERROR").headers["message"]
    worker.expect_closed()
    assert admin.call("queues", name) == []
    assert is_served(bystander)
    put(admin.client, queue, b"new")
    assert drain(bystander, queue) == [b"new"]
    assert admin.call("delete_queue", name) == {"removed": 0}
    fails(admin, INVALID_PARAMS, "name: there is no queue", "delete_queue", name)


def test_a_deleted_queue_of_a_virtual_topic_gets_nothing_more(
    start_broker: StartBroker, connect: Connect
) -> None:
    client = connect(to=start_broker())
    admin = Administrator(client)
    for group in "AB":
        subscribe(client, f"/queue/Consumer.{group}.VirtualTopic.X", id=group)
        accepted(client.ask("UNSUBSCRIBE", id_=group))
    assert admin.call("delete_queue", "Consumer.A.VirtualTopic.X") == {"removed": 0}
    put(client, "/topic/VirtualTopic.X", b"1")
    assert [each["name"] for each in admin.call("queues")] == ["Consumer.B.VirtualTopic.X"]
    assert drain(client, "/queue/Consumer.B.VirtualTopic.X") == [b"1"]
    assert admin.call("delete_queue", "Consumer.B.VirtualTopic.X") == {"removed": 0}
    put(client, "/topic/VirtualTopic.X", b"2")
    assert admin.call("queues") == []


def test_closing_a_connection(admin: Administrator, connect: Connect, queue: str) -> None:
    """It is told why, and what it held is free."""
    worker = connect()
    put(admin.client, queue, b"1")
    subscribe(worker, queue, ack="client-individual")
    take(worker, 1)
    assert admin.call("close_connection", worker.connected.headers["session"]) == {"closed": 1}
    assert "closed by an administrator" in worker.expect("ERROR").headers["message"]
    worker.expect_closed()
    assert drain(admin.client, queue) == [b"1"]
    fails(admin, INVALID_PARAMS, "no connection", "close_connection", "nobody")


def test_durable_subscriptions_of_those_who_are_away(
    admin: Administrator, connect: Connect, topic: str
) -> None:
    who = {"client-id": f"of {topic}"}
    name = {"activemq.subscriptionName": "news"}
    away = Client(connect().socket.getpeername()[1], "1.2", **who)
    subscribe(away, topic, id="d", ack="client", **name)
    fault = fails(admin, REFUSED, "in use", "unsubscribe_durable", who["client-id"], "news")
    assert fault.data is None
    accepted(away.ask("DISCONNECT"))
    away.expect_closed()
    away.close()
    put(admin.client, topic, b"1", b"2")
    [found] = [
        each
        for each in admin.call("durable_subscriptions")
        if each["client_id"] == who["client-id"]
    ]
    assert (found["name"], found["topic"]) == ("news", topic.removeprefix("/topic/"))
    assert (found["online"], found["waiting"]) == (False, 2)
    assert admin.call("topic", topic)["durable_subscriptions"] == [found]
    assert admin.call("unsubscribe_durable", who["client-id"], "news") == {"removed": 1}
    assert found not in admin.call("durable_subscriptions")
    fails(admin, REFUSED, "No durable subscription", "unsubscribe_durable", "x", "y")


def test_the_schedule(start_broker: StartBroker, connect: Connect, queue: str) -> None:
    admin = Administrator(connect(to=start_broker()))
    for delay in ("300000", "100000", "200000"):
        timing = {"AMQ_SCHEDULED_DELAY": delay, "AMQ_SCHEDULED_REPEAT": "2"}
        admin.tell(delay.encode(), queue, **timing)
    admin.tell(b"m", queue, persistent="false", AMQ_SCHEDULED_DELAY="150000")
    shown = admin.call("schedule", limit=3)
    assert shown["total"] == 4
    assert [job["message"]["body"] for job in shown["jobs"]] == ["100000", "m", "200000"]
    first, second, _ = shown["jobs"]
    assert (first["destination"], first["repeat"]) == (queue, 2)
    later = admin.call("schedule", start=second["due"] + 1)
    assert later["total"] == 2
    assert admin.call("unschedule", first["id"]) == {"removed": 1}
    assert admin.call("unschedule", second["id"]) == {"removed": 1}
    assert admin.call("schedule")["total"] == 2
    fails(admin, INVALID_PARAMS, "id: there is no scheduled", "unschedule", first["id"])


def test_a_cancelled_request_is_given_up(admin: Administrator, connect: Connect) -> None:
    """A cancellation for nobody's request disturbs nobody."""
    cancel = {"jsonrpc": "2.0", "method": "rpc.cancel", "params": ["never-made"]}
    admin.tell(json.dumps(cancel).encode(), TOPIC)
    assert admin.call("rpc.ping") == "pong"
