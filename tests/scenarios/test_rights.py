"""Who may do what with which destination, and every way round that a hostile client may think of.

`mallory` is hostile; `alice` and `bob` are of the shops, `bob` is a clerk, too; `boss` is an administrator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import rpc
from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import PASSCODE, BrokerProcess, Client, to_toml
from tests.processes import Process, WorkerProcess
from tests.scenarios.administrator import FORBIDDEN, QUEUE, Administrator, Fault
from tests.scenarios.conftest import Connect
from tests.scenarios.people import ADMINISTRATOR, PEOPLE, log_in, post, with_people
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

SHOPS, CLERKS, ALL, NOBODY = "@shops", "@clerks", "*", ""
RIGHTS = {
    "nobody.listens": {"write": ALL},  # where `is_served` sends
    "open.>": {"read": ALL, "write": ALL},
    "open.not.>": {"read": SHOPS, "write": SHOPS},
    "shop.>": {"read": SHOPS, "write": SHOPS},
    "box.>": {"write": ALL, "read": SHOPS},
    "news.>": {"read": ALL, "write": SHOPS},
    "made.>": {"read": ALL, "write": ALL, "create": CLERKS},
    "seen.>": {"write": ALL, "read": SHOPS, "browse": ALL},
    "run.>": {"read": SHOPS, "write": SHOPS, "administer": CLERKS},
    "Consumer.>": {"read": ALL, "write": ALL},
    "VirtualTopic.open.>": {"read": ALL, "write": ALL},
    "VirtualTopic.shop.>": {"read": SHOPS, "write": SHOPS},
    "/queue/both.>": {"write": ALL},
    "/topic/both.>": {"read": ALL},
    "rpc.shop": {"read": CLERKS, "write": SHOPS},
    "ActiveMQ.Statistics.>": {"write": CLERKS},
    "ActiveMQ.Advisory.Consumer.Queue.open.>": {"read": CLERKS},
}
COMPOSITE = {
    "/queue/open.into.shop": {"forward_to": ["/queue/open.a", "/queue/open.deeper"]},
    "/queue/open.deeper": {"forward_to": ["/queue/shop.a"]},
    "/queue/open.into.open": {"forward_to": ["/queue/open.b", "/topic/open.b"]},
}
READ, WRITE, CREATE, BROWSE = "read from", "write to", "create", "browse"

LogIn = Callable[..., Client]
_numbers = count(1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker with these rights."""
    directory: Path = tmp_path_factory.mktemp("guarded")
    listener = [{"port": 0, "protocol": "http"}]
    settings = with_people(directory, rights=RIGHTS, composite=COMPOSITE, listener=listener)
    process = BrokerProcess("memory:", directory, settings)
    yield process
    process.kill()


@pytest.fixture
def log(connect: Connect, guarded: BrokerProcess) -> LogIn:
    """Return a function that logs somebody in: `log("alice")`."""
    return lambda name, version="1.2", **headers: log_in(connect, name, guarded, version, **headers)


@pytest.fixture
def boss(log: LogIn) -> Administrator:
    """Return the administrator."""
    return Administrator(log(ADMINISTRATOR))


@pytest.fixture
def name() -> str:
    """Return an element of a name that nobody else uses."""
    return f"n{next(_numbers)}"


def refused(answer: Frame, who: str, what: str, where: str) -> None:
    """Check that an answer is a refusal, with ActiveMQ's words."""
    expect_error(answer, f"User {who} is not authorized to {what}: {where}")
    assert answer.headers["denied"] == "true"


def send(
    client: Client, destination: str, body: bytes = b"", *, reply_to: str = "", **headers: str
) -> Frame:
    """Send a message and return the answer, which must be the next frame. Names of headers are as they are."""
    named = {"destination": destination, "receipt": f"s{next(_numbers)}", **headers}
    if reply_to:
        named["reply-to"] = reply_to
    client.write(Frame("SEND", named, body).encode(client.version))
    answer = client.frame()
    assert answer.headers.get("receipt-id") == named["receipt"], answer
    return answer


def listen(client: Client, destination: str, **headers: str) -> Frame:
    """Subscribe and return the answer."""
    return client.ask("SUBSCRIBE", destination=destination, **{"id_": "s", **headers})


def names_there(boss: Administrator, pattern: str) -> list[str]:
    """Return the queues and topics that there are, of those that a pattern means."""
    return [each["name"] for what in ("queues", "topics") for each in boss.call(what, pattern)]


# --- each right ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_whoever_is_named_may(
    log: LogIn, boss: Administrator, name: str, kind: str, version: str
) -> None:
    """The rest is refused with an ERROR, makes nothing, and the connection goes on."""
    place, url = f"/{kind}/shop.{name}", f"{kind}://shop.{name}"
    mallory = log("mallory", version)
    refused(send(mallory, place), "mallory", WRITE, url)
    refused(listen(mallory, place), "mallory", READ, url)
    assert is_served(mallory)
    assert names_there(boss, f"shop.{name}") == []
    alice, bob = log("alice", version), log("bob", version)
    accepted(listen(alice, place))
    accepted(send(bob, place, b"1"))
    accepted(send(boss.client, place, b"2"))
    assert bodies(take(alice, 2)) == [b"1", b"2"]


def test_to_write_is_not_to_read(log: LogIn, name: str) -> None:
    mallory, alice = log("mallory"), log("alice")
    box = f"/queue/box.{name}"
    accepted(send(mallory, box, b"1"))
    refused(listen(mallory, box), "mallory", READ, f"queue://box.{name}")
    refused(listen(mallory, box, browser="true"), "mallory", BROWSE, f"queue://box.{name}")
    assert drain(alice, box) == [b"1"]
    accepted(listen(mallory, f"/topic/news.{name}"))
    refused(send(mallory, f"/topic/news.{name}"), "mallory", WRITE, f"topic://news.{name}")


def test_a_section_may_mean_queues_or_topics_only(log: LogIn, name: str) -> None:
    mallory = log("mallory")
    accepted(send(mallory, f"/queue/both.{name}"))
    refused(send(mallory, f"/topic/both.{name}"), "mallory", WRITE, f"topic://both.{name}")
    accepted(listen(mallory, f"/topic/both.{name}"))
    refused(
        listen(mallory, f"/queue/both.{name}", id_="q"), "mallory", READ, f"queue://both.{name}"
    )


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_to_use_is_not_to_create(log: LogIn, boss: Administrator, name: str, kind: str) -> None:
    """Where the right to create is said, what is not there yet is only made by those."""
    place, url = f"/{kind}/made.{name}", f"{kind}://made.{name}"
    mallory, bob = log("mallory"), log("bob")
    refused(send(mallory, place), "mallory", CREATE, url)
    refused(listen(mallory, place), "mallory", CREATE, url)
    assert names_there(boss, f"made.{name}") == []
    accepted(listen(bob, place))
    accepted(send(mallory, place, b"1"))
    assert bodies(take(bob, 1)) == [b"1"]


def test_to_browse_is_not_to_take(log: LogIn, name: str) -> None:
    mallory, place = log("mallory"), f"/queue/seen.{name}"
    put(mallory, place, b"1")
    accepted(listen(mallory, place, browser="true"))
    assert mallory.expect("MESSAGE").body == b"1"
    mallory.expect("MESSAGE", browser="end")
    refused(listen(mallory, place, id_="t"), "mallory", READ, f"queue://seen.{name}")


def test_of_two_sections_the_later_one_wins(log: LogIn, name: str) -> None:
    mallory, alice = log("mallory"), log("alice")
    accepted(send(mallory, f"/queue/open.{name}"))
    refused(send(mallory, f"/queue/open.not.{name}"), "mallory", WRITE, f"queue://open.not.{name}")
    accepted(send(alice, f"/queue/open.not.{name}"))


# --- ways round: names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        "shop.{0}",
        " /queue/shop.{0} ",
        "/queue/shop.{0}?consumer.prefetchSize=1",
        "/queue/open.{0},/queue/shop.{0}",
        "/topic/open.{0}, shop.{0}",
        "/queue/open.{0},,/queue/shop.{0}?a=b",
    ],
)
def test_no_spelling_leads_past_it(
    log: LogIn, boss: Administrator, name: str, spelling: str
) -> None:
    """All or nothing: of a list in which one is refused nobody gets anything."""
    mallory, destination = log("mallory"), spelling.format(name)
    refused(send(mallory, destination), "mallory", WRITE, f"queue://shop.{name}")
    refused(listen(mallory, destination), "mallory", READ, f"queue://shop.{name}")
    assert names_there(boss, f"*.{name}") == []


def test_what_was_allowed_for_one_is_not_for_the_next(log: LogIn, name: str) -> None:
    """The broker remembers what headers mean; they differ in the destination only, and go back and forth."""
    mallory = log("mallory")
    for number in range(6):
        place = ("open", "shop")[number % 2]
        destination = f"/queue/{place}.{name}"
        for _ in range(3):
            answer = send(mallory, destination, b"x", number=str(number))
            assert answer.command == ("RECEIPT", "ERROR")[number % 2], answer


@pytest.mark.parametrize(
    "headers",
    [
        {"AMQ_SCHEDULED_DELAY": "1"},
        {"expires": "9999999999999"},
        {"priority": "9"},
        {"dedup-id": "1"},
        {"JMSXGroupID": "g"},
        {"ActiveMQ.Retain": "true"},
        {"persistent": "false"},
    ],
)
def test_no_header_leads_past_it(log: LogIn, name: str, headers: dict[str, str]) -> None:
    """A scheduled message is asked about when it is sent: later nobody is there to be told."""
    mallory = log("mallory")
    refused(
        send(mallory, f"/queue/shop.{name}", b"", **headers),
        "mallory",
        WRITE,
        f"queue://shop.{name}",
    )
    refused(
        send(mallory, f"/topic/shop.{name}", b"", **headers),
        "mallory",
        WRITE,
        f"topic://shop.{name}",
    )


def test_a_transaction_does_not_lead_past_it(log: LogIn, name: str) -> None:
    """What is refused is not part of it; the rest is."""
    mallory, alice = log("mallory"), log("alice")
    accepted(mallory.ask("BEGIN", transaction="t"))
    place = f"/queue/shop.{name}"
    refused(send(mallory, place, transaction="t"), "mallory", WRITE, f"queue://shop.{name}")
    accepted(send(mallory, f"/queue/open.{name}", b"1", transaction="t"))
    accepted(mallory.ask("COMMIT", transaction="t"))
    assert drain(alice, f"/queue/open.{name}") == [b"1"]
    assert drain(alice, place) == []


# --- ways round: wildcards -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_a_wildcard_means_what_may_be_read(log: LogIn, name: str, kind: str) -> None:
    """Now and later; what may not is silently left out."""
    mallory, alice = log("mallory"), log("alice")
    places = [f"/{kind}/{place}.{name}" for place in ("shop", "open", "open.not")]
    accepted(listen(mallory, f"/{kind}/*.{name}.>,/{kind}/*.*.{name}"))
    for number, place in enumerate(places):
        accepted(send(alice, place, b"%d" % number))
    accepted(send(alice, f"/{kind}/news.{name}", b"last"))
    assert bodies(take(mallory, 2)) == [b"1", b"last"]
    assert is_served(mallory)


@pytest.mark.parametrize(
    "pattern",
    [
        *("/queue/shop.>", "/topic/shop.>", "/topic/shop.*.x", "/queue/box.*", "/topic/ActiveMQ.>"),
        *("/queue/rpc.reply.>", "/queue/ActiveMQ.*", "/topic/open.>,/topic/shop.>"),
    ],
)
def test_a_wildcard_of_which_nothing_may_be_read(log: LogIn, pattern: str) -> None:
    mallory = log("mallory")
    url = pattern.split(",")[-1].replace("/queue/", "queue://").replace("/topic/", "topic://")
    refused(listen(mallory, pattern), "mallory", READ, url)


def test_replies_are_not_listened_to(log: LogIn, name: str) -> None:
    """Whoever was told the name of a queue for replies may read and write there; a wildcard does not find it."""
    mallory, bob, alice = log("mallory"), log("bob"), log("alice")
    replies = f"/queue/rpc.reply.{name}"
    accepted(listen(mallory, f"/queue/*.{name},/queue/*.*.{name}"))
    put(bob, replies, b"secret")
    put(bob, f"/queue/open.{name}", b"end")
    assert bodies(take(mallory, 1)) == [b"end"]
    assert drain(alice, replies) == [b"secret"]


# --- ways round: what leads elsewhere ----------------------------------------------------------------


def test_a_composite_leads_nowhere_else(log: LogIn, boss: Administrator) -> None:
    """Whoever sends there must be allowed to send to all it is composed of."""
    mallory, alice = log("mallory"), log("alice")
    refused(send(mallory, "/queue/open.into.shop"), "mallory", WRITE, "queue://shop.a")
    refused(
        send(mallory, "/queue/open.c,/queue/open.into.shop"), "mallory", WRITE, "queue://shop.a"
    )
    accepted(send(mallory, "/queue/open.into.open", b"1"))
    accepted(send(alice, "/queue/open.into.shop", b"2"))
    assert drain(alice, "/queue/open.a") == [b"2"]
    assert drain(alice, "/queue/shop.a") == [b"2"]
    assert drain(alice, "/queue/open.b") == [b"1"]


def test_a_virtual_topic_is_read_by_those_who_may(log: LogIn, boss: Administrator) -> None:
    """To consume from its queue, to browse it, or to make it, needs the right to read the topic."""
    mallory, alice, shop = log("mallory"), log("alice"), "VirtualTopic.shop.x"
    queue = f"/queue/Consumer.M.{shop}"
    refused(listen(mallory, queue), "mallory", READ, f"queue://Consumer.M.{shop}")
    refused(send(mallory, queue), "mallory", READ, f"queue://Consumer.M.{shop}")
    assert names_there(boss, "Consumer.>") == []
    accepted(listen(mallory, "/queue/Consumer.M.*.*.*"))  # not one of the pattern's own kind
    accepted(listen(alice, queue))
    accepted(alice.ask("UNSUBSCRIBE", id="s"))
    put(alice, f"/topic/{shop}", b"1")
    refused(
        listen(mallory, queue, id_="b", browser="true"),
        "mallory",
        BROWSE,
        f"queue://Consumer.M.{shop}",
    )
    put(alice, f"/queue/Consumer.M.{shop.replace('shop', 'open')}", b"2")
    assert bodies(take(mallory, 1)) == [b"2"]
    assert drain(alice, queue) == [b"1"]


@pytest.mark.parametrize(("topics", "allowed"), [("open.>", True), (">", False), ("*.x", False)])
def test_a_queue_of_many_virtual_topics(log: LogIn, topics: str, allowed: bool) -> None:
    """It gets the messages of all of them, so all of them must be allowed."""
    mallory, name = log("mallory"), f"Consumer.many.VirtualTopic.{topics}"
    answer = listen(mallory, f"/queue/{name}")
    if allowed:
        accepted(answer)
    else:
        refused(answer, "mallory", READ, f"queue://{name}")


def test_dead_letters_are_read_by_those_who_may(log: LogIn, boss: Administrator, name: str) -> None:
    """It is the broker that moves them, whoever refuses a message."""
    alice, place = log("alice"), f"/queue/shop.{name}"
    put(alice, place, b"bad")
    subscribe(alice, place, ack="client-individual")
    [message] = take(alice, 1)
    accepted(nack(alice, message))
    refused(listen(alice, "/queue/ActiveMQ.DLQ", id_="d"), "alice", READ, "queue://ActiveMQ.DLQ")
    refused(send(alice, "/queue/ActiveMQ.DLQ"), "alice", WRITE, "queue://ActiveMQ.DLQ")
    assert drain(boss.client, "/queue/ActiveMQ.DLQ") == [b"bad"]


# --- durable subscriptions ---------------------------------------------------------------------------


def test_a_durable_subscription_needs_the_right_each_time(log: LogIn, name: str) -> None:
    """To make it, to attach to it under its owner's names, and to end it."""
    durable = {"activemq.subscriptionName": name}
    alice, topic, url = log("alice", client_id=name), f"/topic/shop.{name}", f"topic://shop.{name}"
    accepted(listen(alice, topic, **durable))
    alice.close()
    mallory = log("mallory", client_id=name)
    refused(listen(mallory, topic, **durable), "mallory", READ, url)
    refused(mallory.ask("UNSUBSCRIBE", **durable), "mallory", READ, url)
    mallory.close()
    put(log("bob"), topic, b"1")
    alice = log("alice", client_id=name)
    accepted(listen(alice, topic, **durable))
    assert bodies(take(alice, 1)) == [b"1"]


def test_a_shared_one_too(log: LogIn, name: str) -> None:
    alice, mallory, topic = log("alice"), log("mallory"), f"/topic/shop.{name}"
    accepted(listen(alice, topic, id_=name, durable="true"))
    refused(
        listen(mallory, topic, id_=name, durable="true"), "mallory", READ, f"topic://shop.{name}"
    )
    refused(
        mallory.ask("UNSUBSCRIBE", id_=name, durable="true", destination=topic),
        "mallory",
        READ,
        f"topic://shop.{name}",
    )


@pytest.mark.parametrize(
    ("pattern", "allowed"), [("news.>", True), ("news.*", True), ("open.>", False), (">", False)]
)
def test_by_a_wildcard_all_must_be_allowed(log: LogIn, pattern: str, allowed: bool) -> None:
    """What it keeps is kept while nobody is there to be asked."""
    mallory = log("mallory", client_id=f"m {pattern}")
    answer = listen(mallory, f"/topic/{pattern}", **{"activemq.subscriptionName": "w"})
    if allowed:
        accepted(answer)
    else:
        refused(answer, "mallory", READ, f"topic://{pattern}")


# --- replies, reports and what the broker writes -------------------------------------------------------


def test_nobody_is_asked_to_answer_where_the_asker_has_no_right(log: LogIn, name: str) -> None:
    """To read there is enough, for that is where one waits for answers; of a temporary queue the name is."""
    mallory, alice = log("mallory"), log("alice")
    asks = f"/queue/open.{name}"
    for reply_to, url in (
        (f"/queue/shop.{name}", f"queue://shop.{name}"),
        (f"shop.{name}", f"queue://shop.{name}"),
        (f"/temp-queue/mine,/topic/shop.{name}", f"topic://shop.{name}"),
    ):
        refused(send(mallory, asks, reply_to=reply_to), "mallory", WRITE, url)
        refused(send(mallory, asks, reply_to=reply_to, priority="1"), "mallory", WRITE, url)
    for reply_to in ("/temp-queue/mine", f"/topic/news.{name}", f"/queue/box.{name}", " "):
        accepted(send(mallory, asks, reply_to=reply_to))
    subscribe(alice, asks)
    theirs = take(alice, 4)[0].headers["reply-to"]
    accepted(send(alice, theirs, b"answer"))
    accepted(send(log("bob"), asks, reply_to=theirs))


@pytest.mark.parametrize(
    "headers",
    [{"mandatory": "true"}, {"report": "processed"}, {"mandatory": "true", "transaction": "t"}],
)
def test_the_broker_gives_back_only_where_the_sender_may_write(
    log: LogIn, name: str, headers: dict[str, str]
) -> None:
    """`news` may be read by everybody, which is not enough: the broker is no way round."""
    mallory = log("mallory")
    accepted(mallory.ask("BEGIN", transaction="t"))
    asks, news = f"/queue/open.{name}", f"/queue/news.{name}"
    answer = send(mallory, asks, b"forged", reply_to=news, **headers)
    refused(answer, "mallory", WRITE, f"queue://news.{name}")
    answer = send(mallory, asks, b"forged", reply_to="/queue/open.into.shop", **headers)
    refused(answer, "mallory", WRITE, "queue://shop.a")
    accepted(mallory.ask("COMMIT", transaction="t"))
    accepted(send(mallory, asks, b"1", reply_to="/temp-queue/mine", report="processed"))


def test_the_brokers_services_answer_only_where_the_asker_may_write(log: LogIn, name: str) -> None:
    bob, news = log("bob"), f"/queue/box.{name}"
    mallory = log("mallory")
    statistics = "/queue/ActiveMQ.Statistics.Broker"
    refused(send(mallory, statistics, reply_to="/temp-queue/r"), "mallory", WRITE, statistics_url())
    subscribe(bob, "/temp-queue/r")
    accepted(send(bob, statistics, reply_to="/temp-queue/r"))
    bob.expect("MESSAGE")
    # Mallory may ask the broker's own service, and read this, but not write there.
    asks = b'{"jsonrpc":"2.0","method":"rpc.ping","id":1}'
    refused(
        send(mallory, QUEUE, asks, reply_to=f"/queue/news.{name}"),
        "mallory",
        WRITE,
        f"queue://news.{name}",
    )
    refused(
        send(mallory, f"{QUEUE},{news}", asks, reply_to=f"/queue/news.{name}"),
        "mallory",
        WRITE,
        f"queue://news.{name}",
    )
    assert Administrator(mallory).call("rpc.ping") == "pong"


def statistics_url() -> str:
    return "queue://ActiveMQ.Statistics.Broker"


@pytest.mark.parametrize("prefix", ["/topic/", "/queue/", ""])
def test_the_schedule_is_managed_by_administrators(log: LogIn, prefix: str) -> None:
    place = f"{prefix}ActiveMQ.Scheduler.Management"
    kind = "topic" if prefix == "/topic/" else "queue"
    url = f"{kind}://ActiveMQ.Scheduler.Management"
    asks = {"AMQ_SCHEDULER_ACTION": "REMOVEALL"}
    refused(send(log("alice"), place, b"", **asks), "alice", WRITE, url)
    accepted(send(log(ADMINISTRATOR), place, b"", **asks))


def test_calls_need_no_more_than_the_service(guarded: BrokerProcess) -> None:
    """Who serves reads there, who calls writes there; replies find their way."""
    urls = {who: guarded.url.replace("//", f"//{who}:{quote(PASSCODE)}@") for who in PEOPLE}
    with WorkerProcess(urls["bob"], "shop", "@worker.method\ndef sells():\n    return 'tea'"):
        with rpc.Client(urls["alice"], service="shop") as client:
            assert client.call("sells") == "tea"
        with (
            rpc.Client(urls["mallory"], service="shop") as client,
            pytest.raises(rpc.RpcError, match="not authorized to write to"),
        ):
            client.call("sells")


# --- advisories ----------------------------------------------------------------------------------------


def test_advisories_are_for_administrators_and_whom_they_name(
    log: LogIn, boss: Administrator, name: str
) -> None:
    """They tell of everybody; a wildcard means those topics that may be read."""
    mallory, bob, alice = log("mallory"), log("bob"), log("alice")
    topic = "/topic/ActiveMQ.Advisory."
    url = "topic://ActiveMQ.Advisory."
    refused(listen(mallory, topic + "Connection"), "mallory", READ, url + "Connection")
    refused(listen(mallory, topic + ">"), "mallory", READ, url + ">")
    refused(
        listen(bob, topic + "Consumer.Queue.shop.x"), "bob", READ, url + "Consumer.Queue.shop.x"
    )
    accepted(listen(mallory, "/topic/>"))
    accepted(listen(bob, topic + "Consumer.>"))
    accepted(listen(boss.client, topic + "Consumer.Queue.shop.>", id_="a"))
    accepted(listen(alice, f"/queue/shop.{name}", id_="1"))
    accepted(listen(alice, f"/queue/open.{name}", id_="2"))
    accepted(send(alice, f"/topic/open.{name}", b"end"))
    where = f"{topic}Consumer.Queue."
    assert boss.client.expect("MESSAGE").headers["destination"] == f"{where}shop.{name}"
    assert bob.expect("MESSAGE").headers["destination"] == f"{where}open.{name}"
    assert mallory.expect("MESSAGE").body == b"end"


# --- temporary destinations ------------------------------------------------------------------------------


def test_a_temporary_destination_is_its_owners(log: LogIn, name: str) -> None:
    """Whoever knows the name may send there, and nobody else reads it; nobody can guess the name of another."""
    alice, mallory = log("alice"), log("mallory")
    subscribe(alice, "/temp-queue/mine")
    asks = f"/queue/open.{name}"
    subscribe(mallory, asks)
    names = set()
    for own in ("/temp-queue/mine", "/temp-queue/other"):
        accepted(send(alice, asks, reply_to=own))
        [question] = take(mallory, 1)
        names.add(question.headers["reply-to"].rpartition("-")[2])
        expect_error(
            listen(mallory, question.headers["reply-to"], id_="t"), "remote Temporary destination"
        )
    assert len(names) == 2
    assert all(len(each) == 16 for each in names)


def test_who_may_make_them_can_be_said(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    rights = {
        ">": {"read": ALL, "write": ALL},
        "/temp-queue/>": {"create": SHOPS, "write": CLERKS},
        "/temp-topic/>": {"create": NOBODY},
    }
    broker = start_broker("memory:", **with_people(tmp_path, rights=rights))
    mallory, alice = log_in(connect, "mallory", broker), log_in(connect, "alice", broker)
    bob = log_in(connect, "bob", broker)
    for answer in (
        listen(mallory, "/temp-queue/a"),
        send(mallory, "/temp-queue/a"),
        send(mallory, "/queue/a", reply_to="/temp-queue/a"),
        listen(alice, "/temp-topic/a"),
    ):
        expect_error(answer, "is not authorized to create: temp-")
    accepted(listen(alice, "/temp-queue/a"))
    alice.send("SEND", b"own", destination="/temp-queue/a")
    take(alice, 1)
    subscribe(bob, "/queue/a")
    accepted(send(alice, "/queue/a", reply_to="/temp-queue/a"))
    theirs = take(bob, 1)[0].headers["reply-to"]
    expect_error(send(mallory, theirs), "is not authorized to write to: temp-queue://")
    accepted(send(bob, theirs, b"answer"))
    assert bodies(take(alice, 1)) == [b"answer"]


# --- HTTP ----------------------------------------------------------------------------------------------------


def test_over_http(guarded: BrokerProcess, log: LogIn, name: str) -> None:
    """403 is no 401: another login would help, and not the same one once more."""
    queue = f"/queue/shop.{name}"
    status, text, challenge = post(guarded.ports["http"], queue, f"mallory:{PASSCODE}")
    assert (status, challenge) == (403, None)
    assert text.startswith(f"User mallory is not authorized to write to: queue://shop.{name}\n")
    assert post(guarded.ports["http"], queue, f"alice:{PASSCODE}").status == 201
    assert len(drain(log("alice"), queue)) == 1


# --- the broker's own methods --------------------------------------------------------------------------------


@pytest.fixture
def run(log: LogIn, name: str) -> str:
    """Return a queue with two messages that clerks may administer."""
    put(log("alice"), f"/queue/run.{name}", b"1", b"2", persistent="true")
    return f"/queue/run.{name}"


def forbidden(asker: Administrator, method: str, *params: Any, **named: Any) -> str:
    """Check that a call is refused; return what is said."""
    with pytest.raises(Fault) as caught:
        asker.call(method, *params, **named)
    assert caught.value.code == FORBIDDEN, caught.value
    return str(caught.value)


def test_who_administers_a_destination_is_asked_by_each_method(log: LogIn, run: str) -> None:
    """Others are refused whether it is there or not."""
    for who in ("mallory", "alice"):
        asker = Administrator(log(who))
        for queue in (run, f"{run}.not.there"):
            url = queue.replace("/queue/", "queue://")
            said = f"User {who} is not authorized to administer: {url}"
            for method, *more in (
                ("queue",),
                ("purge",),
                ("remove", "id"),
                ("move", "open.a"),
                ("retry",),
                ("delete_queue", True),
            ):
                assert said in forbidden(asker, method, queue, *more), method
    bob = Administrator(log("bob"))
    assert bob.call("queue", run)["waiting"] == 2
    assert bob.call("copy", run, "open.copied", None, 1) == {"copied": 1}
    assert bob.call("move", run, "open.moved", None, 1) == {"moved": 1}
    assert bob.call("purge", run) == {"removed": 1}
    assert bob.call("delete_queue", run) == {"removed": 0}


def test_messages_are_shown_to_those_who_may_browse(log: LogIn, run: str) -> None:
    mallory, alice = Administrator(log("mallory")), Administrator(log("alice"))
    for method, *more in (("browse",), ("message", "id"), ("copy", "open.stolen")):
        assert "not authorized to browse" in forbidden(mallory, method, run, *more)
    assert [each["body"] for each in alice.call("browse", run)["messages"]] == ["1", "2"]


def test_what_is_put_elsewhere_needs_the_right_there(log: LogIn, name: str, run: str) -> None:
    """`bob` may not write to the dead letters, or make what only others may."""
    bob = Administrator(log("bob"))
    for to, url in (
        ("ActiveMQ.DLQ", "queue://ActiveMQ.DLQ"),
        ("/topic/secret", "topic://secret"),
        (f"secret.{name}?open.x", f"queue://secret.{name}?open.x"),
    ):
        for method in ("move", "copy"):
            said = forbidden(bob, method, run, to)
            assert f"User bob is not authorized to write to: {url}" in said
    assert bob.call("queue", run)["waiting"] == 2


def test_a_dead_letter_returns_only_where_the_asker_may_send(
    log: LogIn, boss: Administrator, name: str
) -> None:
    """Also if somebody has written into it where it came from."""
    put(boss.client, f"/queue/run.{name}", b"forged", **{"original-destination": "/queue/secret"})
    bob = Administrator(log("bob"))
    assert bob.call("retry", f"run.{name}") == {"retried": 0, "skipped": 1}
    assert names_there(boss, "secret") == []
    assert boss.call("retry", f"run.{name}") == {"retried": 1, "skipped": 0}
    assert drain(boss.client, "/queue/secret") == [b"forged"]


def test_lists_show_what_the_asker_may_see(log: LogIn, boss: Administrator, run: str) -> None:
    """Queues and topics that it may browse or administer, subscriptions to what it may administer."""
    durable = {"activemq.subscriptionName": run}
    bob, alice = log("bob", client_id=run), log("alice")
    accepted(listen(bob, run.replace("/queue/", "/topic/"), id_="d", **durable))
    client = log("alice")
    accepted(listen(client, f"{run}.quiet", id_="s"))
    accepted(listen(client, f"{run}.>", id_="all"))
    put(bob, "/queue/rpc.reply.secret", b"")
    name = run.removeprefix("/queue/")
    mallory, clerk = Administrator(log("mallory")), Administrator(log("bob"))
    assert name not in [each["name"] for each in mallory.call("queues")]
    assert not any(each["name"].startswith("rpc.") for each in mallory.call("queues"))
    assert name in [each["name"] for each in Administrator(alice).call("queues")]
    assert mallory.call("topics", name) == mallory.call("subscriptions", run) == []
    assert [each["id"] for each in mallory.call("subscriptions")] == ["replies"]
    assert mallory.call("durable_subscriptions") == []
    assert [each["name"] for each in clerk.call("topics", name)] == [name]
    assert [each["id"] for each in clerk.call("subscriptions", f"{run}.quiet")] == ["s"]
    assert [each["name"] for each in clerk.call("durable_subscriptions")] == [run]
    assert len(boss.call("subscriptions", f"{run}.quiet")) == 2
    assert "not authorized to administer" in forbidden(mallory, "unsubscribe_durable", run, run)
    bob.close()


def test_the_rest_is_for_administrators(log: LogIn, boss: Administrator) -> None:
    bob = Administrator(log("bob"))
    for method, *params in (
        *(("connections",), ("connection", "x"), ("close_connection", "x"), ("info",)),
        *(("settings",), ("services",), ("peers",), ("pause_peer", "x"), ("schedule",)),
        *(("unschedule", "x"), ("reset_statistics",), ("tracked_messages",)),
    ):
        assert forbidden(bob, method, *params) == f"{method} is for administrators"
    assert boss.call("info")["product"] == "hoofbeat"


def test_every_method_is_guarded(log: LogIn, boss: Administrator) -> None:
    """A new one is for administrators until somebody thinks about it: nobody else gets an answer."""
    mallory = Administrator(log("mallory"))
    examples = {"string": "x", "integer": 1, "number": 1, "boolean": True}
    lists = {"queues", "topics", "subscriptions", "durable_subscriptions"}
    for method in boss.call("rpc.describe")["methods"]:
        name = method["name"]
        if name in lists or name == "tracked":
            continue
        required = re.findall(r"(\w+): \w+(?=[,)])", method["signature"])
        forbidden(
            mallory, name, **{each: examples[method["params"][each]["type"]] for each in required}
        )


# --- brokers that know nobody ----------------------------------------------------------------------------------


def test_everybody_is_all_that_an_open_broker_can_name(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Nobody's login is checked there, and with rights nobody is an administrator."""
    broker = start_broker("memory:", rights={"open.>": {"read": ALL, "write": ALL}})
    client = connect(to=broker, login=ADMINISTRATOR)
    accepted(send(client, "/queue/open.a"))
    refused(send(client, "/queue/b"), ADMINISTRATOR, WRITE, "queue://b")
    assert "is for administrators" in forbidden(Administrator(client), "info")


def test_it_does_not_start_with_names(tmp_path: Path) -> None:
    config = tmp_path / "hoofbeat.toml"
    config.write_text(to_toml({"rights": {"a": {"read": ALL, "write": "alice, *"}}}))
    arguments = ("--port", "0", "--store", "memory:", "--config", str(config))
    with Process("-m", "broker", "run", *arguments) as process:
        process.wait_for_line(
            r'\[rights\."a"\]: write names alice, .*, but nobody\'s login is checked'
        )
        assert process.wait() != 0


def test_without_rights_everybody_may_do_all_but_administer(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    broker = start_broker("memory:", **with_people(tmp_path))
    mallory = log_in(connect, "mallory", broker)
    for place in ("/queue/a", "/topic/ActiveMQ.Advisory.Expired.>", "/queue/ActiveMQ.DLQ"):
        accepted(listen(mallory, place, id_=place))
    accepted(send(mallory, "/queue/b"))
    asker = Administrator(log_in(connect, "mallory", broker))
    assert forbidden(asker, "queues") == "queues is for administrators"
    assert Administrator(log_in(connect, ADMINISTRATOR, broker)).call("queues")


def test_reports_of_status_are_json(log: LogIn, name: str) -> None:
    """`tracked` is open to everybody, for what they sent themselves."""
    mallory, alice = Administrator(log("mallory")), Administrator(log("alice"))
    place = f"/queue/open.{name}"
    put(alice.client, place, b"job", report="processed", correlation_id=name)
    assert alice.call("tracked", name)["status"] == "QUEUED"
    with pytest.raises(Fault, match="nothing is known"):
        mallory.call("tracked", name)
    assert json.dumps(alice.call("tracked", name))


def test_messages_in_hand_are_acknowledged(log: LogIn, name: str) -> None:
    """To acknowledge needs no right of its own."""
    alice, place = log("alice"), f"/queue/box.{name}"
    put(log("mallory"), place, b"1")
    subscribe(alice, place, ack="client-individual")
    accepted(ack(alice, take(alice, 1)[0]))
