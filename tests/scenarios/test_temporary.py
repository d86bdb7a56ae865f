"""Temporary queues and topics: a client's own, for the replies it expects, and gone with its connection."""

from __future__ import annotations

import gc

import pytest

from tests.conftest import StartBroker
from tests.durability.house import Client as InHouse
from tests.durability.house import House
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

KINDS = ("queue", "topic")
OWN, REMOTE = "/temp-queue/replies", "/remote-temp-queue/"


def name_for_others(owner: Client, own: str, queue: str, to: Client | None = None) -> str:
    """Return what another client calls an owner's temporary destination: it asks, with a reply-to."""
    with_name = to or owner
    put(owner, queue, b"where to?", reply_to=own)
    subscribe(with_name, queue, id="ask")
    name = with_name.expect("MESSAGE").headers["reply-to"]
    accepted(with_name.ask("UNSUBSCRIBE", id="ask"))
    return name


@pytest.mark.parametrize("server_version", ["1.0", "1.1", "1.2"])
def test_a_request_and_its_reply(
    connect: Connect, version: str, server_version: str, queue: str
) -> None:
    """The server copies reply-to into its SEND, whatever versions both speak."""
    client, server = connect(version), connect(server_version)
    subscribe(server, queue)
    subscribe(client, OWN)
    client.send("SEND", b"6 * 7", destination=queue, reply_to=OWN, correlation_id="1")
    request = server.expect("MESSAGE", correlation_id="1")
    assert request.headers["reply-to"].startswith(REMOTE)
    put(server, request.headers["reply-to"], b"42", correlation_id="1")
    reply = client.expect("MESSAGE", destination=OWN, subscription="s", correlation_id="1")
    assert reply.body == b"42"


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_knows_it_by_its_own_name(connect: Connect, kind: str, queue: str) -> None:
    """Also when it reads its own request, or one that another client sends with the name for others."""
    own = f"/temp-{kind}/replies"
    owner, other = connect(), connect()
    name = name_for_others(owner, own, queue, to=other)
    assert name.startswith(f"/remote-temp-{kind}/")
    for sender, reply_to in ((owner, own), (other, name)):
        put(sender, queue, b"x", reply_to=reply_to)
    subscribe(owner, queue)
    assert [each.headers["reply-to"] for each in take(owner, 2)] == [own, own]


def test_the_owner_knows_it_also_in_a_backlog(connect: Connect, queue: str) -> None:
    """Of which most is on disk only."""
    owner = connect()
    for number in range(1, 1201):
        last = {"receipt": "all"} if number == 1200 else {}
        owner.send("SEND", b"x", destination=queue, reply_to=OWN, **last)
    owner.expect("RECEIPT")
    subscribe(owner, queue)
    assert {message.headers["reply-to"] for message in take(owner, 1200)} == {OWN}


def test_each_connection_has_its_own(connect: Connect, queue: str) -> None:
    """Two clients that choose the same name do not meet."""
    one, two, server = connect(), connect(), connect()
    subscribe(server, queue)
    for client, text in ((one, b"one"), (two, b"two")):
        subscribe(client, OWN)
        client.send("SEND", text, destination=queue, reply_to=OWN)
    for request in take(server, 2):
        put(server, request.headers["reply-to"], request.body)
    assert one.expect("MESSAGE").body == b"one"
    assert two.expect("MESSAGE").body == b"two"
    assert is_served(one)
    assert is_served(two)


def test_it_exists_from_its_first_mention_on(connect: Connect, queue: str) -> None:
    """A reply may come before the client subscribes; and several requests mean one queue."""
    owner, server = connect(), connect()
    subscribe(server, queue)
    for _ in range(2):
        owner.send("SEND", b"x", destination=queue, reply_to=OWN)
    one, two = take(server, 2)
    assert one.headers["reply-to"] == two.headers["reply-to"]
    put(server, one.headers["reply-to"], b"1", b"2")
    subscribe(owner, OWN)
    assert bodies(take(owner, 2)) == [b"1", b"2"]


def test_a_client_may_send_to_its_own(connect: Connect) -> None:
    owner = connect()
    put(owner, OWN, b"x")
    subscribe(owner, OWN)
    assert owner.expect("MESSAGE", destination=OWN).body == b"x"


def test_a_temporary_topic_reaches_who_is_subscribed(connect: Connect, queue: str) -> None:
    """Only the owner can be, as often as it likes; what came before is gone."""
    owner, other = connect(), connect()
    name = name_for_others(owner, "/temp-topic/news", queue, to=other)
    put(other, name, b"too early")
    subscribe(owner, "/temp-topic/news", id="a")
    subscribe(owner, "/temp-topic/news", id="b")
    put(other, name, b"news")
    both = take(owner, 2)
    assert {each.headers["subscription"] for each in both} == {"a", "b"}
    assert bodies(both) == [b"news", b"news"]
    assert {each.headers["destination"] for each in both} == {"/temp-topic/news"}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_owner_may_subscribe(connect: Connect, kind: str, queue: str) -> None:
    owner, thief = connect(), connect()
    name = name_for_others(owner, f"/temp-{kind}/replies", queue, to=thief)
    answer = thief.ask("SUBSCRIBE", destination=name, id="s")
    expect_error(answer, "Cannot subscribe to a remote Temporary destination")
    answer = thief.ask("SUBSCRIBE", destination=f"{queue},{name}", id="s")
    expect_error(answer, "Cannot subscribe to a remote Temporary destination")
    assert is_served(thief)
    subscribe(owner, name)  # the owner may, under either name
    put(thief, name, b"x")
    assert owner.expect("MESSAGE").body == b"x"


def test_no_wildcard_means_somebody_elses(start_broker: StartBroker, connect: Connect) -> None:
    broker = start_broker("memory:")
    owner, thief = connect(to=broker), connect(to=broker)
    subscribe(thief, "/queue/*,/topic/*")
    for own in (OWN, "/temp-topic/news"):
        put(owner, own, b"secret")
    assert thief.silent()
    for pattern in ("/remote-temp-queue/>", "/remote-temp-topic/*"):
        expect_error(thief.ask("SUBSCRIBE", destination=pattern, id="w"), "does not exist")


def test_one_subscription_may_take_from_several(connect: Connect, queue: str) -> None:
    """And says of each message where it came from, by the names the owner uses."""
    owner = connect()
    subscribe(owner, f"/temp-queue/a,{queue},/temp-topic/b")
    for destination in ("/temp-queue/a", queue, "/temp-topic/b"):
        owner.send("SEND", b"x", destination=destination)
        owner.expect("MESSAGE", destination=destination)


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_with_the_connection(
    connect: Connect, kind: str, queue: str, later_version: str
) -> None:
    """Whether its owner says goodbye or not; a SEND to it is refused, and the sender goes on."""
    sender = connect(later_version)
    for polite in (True, False):
        owner = connect()
        name = name_for_others(owner, f"/temp-{kind}/replies", queue, to=sender)
        if polite:
            accepted(owner.ask("DISCONNECT"))
        else:
            owner.close()
            send_until_refused(sender, name)
        expect_error(
            sender.ask("SEND", destination=name), f"The destination {name} does not exist."
        )
        assert is_served(sender)


def send_until_refused(sender: Client, destination: str) -> None:
    """Send the same frame as long as it is taken."""
    while sender.ask("SEND", b"x", destination=destination).command != "ERROR":
        pass


def test_a_sender_that_is_known_is_refused_too(connect: Connect, queue: str) -> None:
    """A producer repeats itself, and what its frames mean is remembered: not for a queue that has gone."""
    owner, sender = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=sender)
    frame = b"SEND\ndestination:%b\nreceipt:%d\ncontent-length:1\n\nx\0"
    for number in range(100):
        sender.write(frame % (name.encode(), number))
    for _ in range(100):
        sender.expect("RECEIPT")
    accepted(owner.ask("DISCONNECT"))
    sender.write(frame % (name.encode(), 100))
    expect_error(sender.frame(), "does not exist")
    successor = connect()
    subscribe(successor, OWN)
    sender.write(frame % (name.encode(), 101))
    expect_error(sender.frame(), "does not exist")
    assert is_served(successor)


def test_what_waits_is_lost_with_its_owner(connect: Connect, queue: str) -> None:
    """The name is never given again."""
    owner, server = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    put(server, name, b"unread")
    accepted(owner.ask("DISCONNECT"))
    owner = connect()
    assert name_for_others(owner, OWN, queue, to=server) != name
    subscribe(owner, OWN)
    assert is_served(owner)


def test_unsubscribing_does_not_end_it(connect: Connect, queue: str) -> None:
    """Only the end of the connection does: what comes meanwhile waits."""
    owner, server = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    subscribe(owner, OWN)
    accepted(owner.ask("UNSUBSCRIBE", id="s"))
    put(server, name, b"x")
    subscribe(owner, OWN, id="again")
    assert owner.expect("MESSAGE", subscription="again").body == b"x"


def test_1_0_unsubscribes_by_its_own_name(connect: Connect) -> None:
    owner = connect("1.0")
    accepted(owner.ask("SUBSCRIBE", destination=OWN))
    accepted(owner.ask("UNSUBSCRIBE", destination=OWN))
    put(owner, OWN, b"x")
    assert is_served(owner)


def test_acknowledged_like_any_other(connect: Connect, later_version: str, queue: str) -> None:
    """What is given back comes again."""
    owner, server = connect(later_version), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    subscribe(owner, OWN, ack="client-individual")
    put(server, name, b"1", b"2")
    one, two = take(owner, 2)
    accepted(ack(owner, one))
    accepted(nack(owner, two, requeue="true"))
    again = owner.expect("MESSAGE", redelivered="true")
    assert again.body == b"2"
    accepted(ack(owner, again))


def test_sent_in_a_transaction(connect: Connect, queue: str) -> None:
    owner, server = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    subscribe(owner, OWN)
    server.send("BEGIN", transaction="t")
    accepted(server.ask("SEND", b"x", destination=name, transaction="t"))
    assert is_served(owner)
    accepted(server.ask("COMMIT", transaction="t"))
    assert owner.expect("MESSAGE").body == b"x"


def test_a_reply_to_one_who_has_gone_does_not_spoil_a_transaction(
    connect: Connect, queue: str
) -> None:
    """The rest of it is done: also the rest of a list that names it."""
    owner, server = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    server.send("BEGIN", transaction="t")
    for body, destination in (
        (b"1", queue),
        (b"2", name),
        (b"3", f"{name},{queue}"),
        (b"4", queue),
    ):
        accepted(server.ask("SEND", body, destination=destination, transaction="t"))
    accepted(owner.ask("DISCONNECT"))
    accepted(server.ask("COMMIT", transaction="t"))
    subscribe(server, queue)
    assert bodies(take(server, 3)) == [b"1", b"3", b"4"]


def test_a_list_with_one_who_has_gone_is_refused_as_a_whole(connect: Connect, queue: str) -> None:
    """Nobody gets it: the sender knows, and may send again."""
    owner, server = connect(), connect()
    name = name_for_others(owner, OWN, queue, to=server)
    destination = f"{queue},{name}"
    put(server, destination, b"before")
    accepted(owner.ask("DISCONNECT"))
    expect_error(server.ask("SEND", b"after", destination=destination), "does not exist")
    subscribe(server, queue)
    assert server.expect("MESSAGE").body == b"before"
    assert is_served(server)


@pytest.mark.parametrize(
    "own", ["a:b", r"back\slash", "blank space", "ünï.cødé", "a/remote-b", "*"]
)
def test_names_of_all_kinds(connect: Connect, version: str, queue: str, own: str) -> None:
    """Also in 1.0, which has no escapes; nothing in a name has a meaning."""
    own = f"/temp-queue/{own}"
    owner, server = connect(version), connect()
    subscribe(server, queue)
    subscribe(owner, queue + ".echo", id="echo")
    accepted(owner.ask("SUBSCRIBE", destination=own, id="s"))
    owner.send("SEND", b"x", destination=f"{queue},{queue}.echo", reply_to=own)
    assert owner.expect("MESSAGE", subscription="echo").headers["reply-to"] == own
    put(server, server.expect("MESSAGE").headers["reply-to"], b"y")
    assert owner.expect("MESSAGE", subscription="s", destination=own).body == b"y"


def test_a_name_with_escapes_in_a_request_without(
    connect: Connect, version: str, queue: str
) -> None:
    """Somebody else names the queue as everybody does; its owner reads its own name."""
    own = r"/temp-queue/a:b\c"
    owner, other = connect(version), connect()
    name = name_for_others(owner, own, queue, to=other)
    put(other, queue, b"x", reply_to=name)
    subscribe(owner, queue)
    assert owner.expect("MESSAGE").headers["reply-to"] == own


@pytest.mark.parametrize(
    "reply_to",
    [
        "JustAString",
        "some destination",
        "/queue/known",
        "/topic/known",
        "http://host/temp-dir, and a comma",
        "/temp-queues/x",
        "queue://x",
        "",
    ],
)
def test_any_other_reply_to_passes_untouched(connect: Connect, queue: str, reply_to: str) -> None:
    client = connect()
    put(client, queue, b"x", reply_to=reply_to)
    subscribe(client, queue)
    assert client.expect("MESSAGE").headers["reply-to"] == reply_to


@pytest.mark.parametrize("destination", ["/temp-queue/", "/temp-topic/", " /temp-queue/ "])
def test_it_needs_a_name(connect: Connect, destination: str, queue: str) -> None:
    client = connect()
    expect_error(client.ask("SUBSCRIBE", destination=destination, id="s"), "Invalid empty")
    expect_error(client.ask("SEND", destination=destination), "Invalid empty")
    expect_error(client.ask("SEND", destination=queue, reply_to=destination), "Invalid empty")
    assert is_served(client)


def test_it_is_never_stored(start_broker: StartBroker, connect: Connect) -> None:
    """Neither what waits there nor the name: after a restart nothing of it is left."""
    broker = start_broker()
    owner = connect(to=broker)
    put(owner, OWN, b"x", persistent="true")
    put(owner, "/queue/a", b"x", reply_to=OWN)
    broker.stop()
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    name = client.expect("MESSAGE").headers["reply-to"]
    expect_error(client.ask("SEND", b"x", destination=name), "does not exist")
    subscribe(client, OWN, id="own")
    assert is_served(client)


def test_ten_thousand_short_connections_leave_nothing_behind() -> None:
    """Each has a temporary queue with a message in it, and a busy server that has answered it."""
    house = House()
    server = InHouse(house)
    server.ask("SUBSCRIBE", destination="/queue/requests", id_="s")
    objects = []
    for number in range(10_000):
        client = InHouse(house)
        client.ask("SUBSCRIBE", destination=OWN, id_="s", ack="client")
        client.ask("SEND", b"x", destination="/queue/requests", reply_to=OWN)
        [its_queue] = house.broker.routes.temporaries()
        reply_to = f"{its_queue.destination},/topic/{number % 7}"
        assert server.ask("SEND", b"y", destination=reply_to) == ["MESSAGE"]  # the request
        client.connection.lost()
        if number % 2000 == 1999:
            house.agenda.run(1000.0)  # nobody waits for their CONNECT any more
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert house.broker.routes.temporaries() == []
    assert house.broker.routes.queues.keys() == {"requests"}
    assert house.broker.memory.room == house.broker.memory.reserve * 2
    assert objects[-1] - objects[0] < 100, objects


def test_a_limit_of_the_queue_is_lifted_with_it(
    start_broker: StartBroker, connect: Connect
) -> None:
    """A producer that waits for room hears that there will be none."""
    broker = start_broker("memory:", **{'destination.">".max_messages': 1})
    owner, server = connect(to=broker), connect(to=broker)
    name = name_for_others(owner, OWN, "/queue/a", to=server)
    put(server, name, b"1")
    server.send("SEND", b"2", destination=name, receipt="2")
    owner.close()
    expect_error(server.frame(), "does not exist")
    assert is_served(server)


def test_dead_letters_of_a_temporary_queue_are_dropped(connect: Connect) -> None:
    owner = connect()
    put(owner, OWN, b"poison")
    subscribe(owner, OWN, ack="client")
    accepted(nack(owner, owner.expect("MESSAGE")))
    assert is_served(owner)
