"""Virtual hosts: which one a client comes to, and that none sees, fills or slows down another."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import rpc
from broker.angel.instance import Record
from broker.stomp import Frame
from tests.certificates import Authority
from tests.conftest import StartBroker
from tests.forks import Fork
from tests.harness import DEADLINE, BrokerProcess, Client, to_toml
from tests.scenarios.administrator import Administrator, Fault
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    read_octets,
    subscribe,
    take,
)

MB = 1024 * 1024
OWN = "localhost"
EVERYWHERE = (OWN, "shop", "bank")
SMALL = 200_000  # bytes of the shop's memory

SETTINGS: dict[str, object] = {
    "connect_timeout": 3,
    "destination": {">": {"redelivery_delay": 0.0}},
    "virtual_host": {
        "shop": {
            "names": "shop.example.com, Laden",
            "memory_limit": SMALL,
            "max_redeliveries": 0,
            "destination": {"small": {"max_messages": 1, "at_limit": "error"}},
            "composite": {"/queue/both": {"forward_to": ["/queue/one", "/queue/two"]}},
        },
        "bank": {"max_body": 1000},
        "yard": {},
        "staff-only": {"people": "@staff"},
    },
}

_numbers = count(1)


class SecureClient(Client):
    """A client over TLS that does not look at certificates."""

    def dial(self, port: int) -> socket.socket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(super().dial(port))


Enter = Callable[..., Client]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker with several virtual hosts, on TCP, TLS and HTTP."""
    directory = tmp_path_factory.mktemp("house")
    certificate, key = Authority(directory).issue()
    secure = {"port": 0, "tls_certificate": certificate, "tls_key": key}
    settings = {**SETTINGS, "listener": [secure, {"port": 0, "protocol": "http"}]}
    broker = BrokerProcess(f"lmdb:{directory / 'data'}", directory, settings)
    yield broker
    broker.kill()


@pytest.fixture
def enter(house: BrokerProcess) -> Iterator[Enter]:
    """Return a function that connects a client to a virtual host; it hangs up after the test."""
    clients: list[Client] = []

    def new(host: str = OWN, version: str | None = "1.2", **headers: str) -> Client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        clients.append(Client(house.port, version, host=host, **named))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def name() -> str:
    """Return a name that no other test uses."""
    return f"of.{next(_numbers)}"


def where(client: Client) -> str | None:
    """Return the name of the virtual host at which a client is."""
    found: str | None = Administrator(client).call("info")["virtual_host"]
    return found


# --- which host -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("shop", "shop"),
        ("SHOP", "shop"),
        (" shop ", "shop"),
        ("shop.example.com", "shop"),
        ("laden", "shop"),
        ("bank", "bank"),
        ("localhost", None),
        ("/", None),
        ("127.0.0.1", None),
        ("", None),
        ("nobody", None),
    ],
)
def test_the_header_host_says_which(enter: Enter, host: str, found: str | None) -> None:
    """By its name or another, in any letters; who means none is at the broker's own, as with ActiveMQ."""
    assert where(enter(host)) == found


def test_in_every_version(enter: Enter) -> None:
    for version in ("1.0", "1.1", "1.2"):
        assert where(enter("shop", version)) == "shop"


def test_who_says_nothing_is_at_the_brokers_own(house: BrokerProcess) -> None:
    with Client(house.port, None) as client:
        client.write(b"CONNECT\n\n\0")
        client.expect("CONNECTED")
        assert where(client) is None


def test_by_a_url_of_remote_calls(house: BrokerProcess) -> None:
    """`stomp://HOST:PORT/NAME`."""
    for path, found in (("", None), ("/%2F", None), ("/shop", "shop"), ("/Laden", "shop")):
        with rpc.Client(f"stomp://127.0.0.1:{house.port}{path}", "broker") as client:
            assert client.call("info")["virtual_host"] == found


def test_over_http(house: BrokerProcess, enter: Enter, name: str) -> None:
    """By the header Host of HTTP."""
    for host in (*EVERYWHERE, "shop.example.com:8161", "nobody"):
        connection = http.client.HTTPConnection("127.0.0.1", house.ports["http"], timeout=DEADLINE)
        connection.request("PUT", f"/queue/{name}/{host}", host, {"Host": host})
        assert connection.getresponse().status == 201
        connection.close()
    assert drain(enter("shop"), f"/queue/{name}") == [b"shop", b"shop.example.com:8161"]
    assert drain(enter("bank"), f"/queue/{name}") == [b"bank"]
    assert drain(enter(), f"/queue/{name}") == [b"localhost", b"nobody"]


def test_a_name_that_there_is_not_may_be_refused(start_broker: StartBroker) -> None:
    """It is not let in anywhere; who names none is, and who names the broker itself."""
    broker = start_broker(
        "memory:", unknown_host="refuse", names="mq.example.com", virtual_host={"shop": {}}
    )
    with Client(broker.port, None) as stranger:
        stranger.write(b"CONNECT\naccept-version:1.2\nhost:shp\n\n\0")
        expect_error(stranger.frame(), "There is no virtual host shp")
        stranger.expect_closed()
    for host, found in (("", None), ("MQ.example.com", None), ("Shop", "shop")):
        with broker.connect(host=host) as client:
            assert where(client) == found


# --- none sees another ------------------------------------------------------------------------------


def test_queues(enter: Enter, name: str) -> None:
    for host in EVERYWHERE:
        put(enter(host), f"/queue/{name}", host.encode())
    for host in EVERYWHERE:
        client = enter(host)
        subscribe(client, f"/queue/{name}")
        assert bodies(take(client, 1)) == [host.encode()]
        assert client.silent()


def test_topics_and_wildcards(enter: Enter, name: str) -> None:
    ears = {host: enter(host) for host in EVERYWHERE}
    for client in ears.values():
        subscribe(client, f"/topic/{name}", id="topic")
        subscribe(client, "/topic/of.>", id="topics")
        subscribe(client, f"/queue/{name}.>", id="queues")
    for host in EVERYWHERE:
        put(enter(host), f"/topic/{name}", host.encode())
        put(enter(host), f"/queue/{name}.a", host.encode())
    for host, client in ears.items():
        assert bodies(take(client, 3)) == [host.encode()] * 3
        assert client.silent()


def test_durable_subscriptions_and_client_ids(enter: Enter, name: str) -> None:
    """The same client-id is connected to each, and the same durable subscription is another one in each."""
    login = {"client_id": name}
    durable = {"activemq.subscriptionName": "news"}
    clients = {host: enter(host, **login) for host in EVERYWHERE}
    for client in clients.values():
        subscribe(client, f"/topic/{name}", **durable)
        client.send("DISCONNECT", receipt="bye")
        client.expect("RECEIPT")
    for host in EVERYWHERE:
        put(enter(host), f"/topic/{name}", host.encode())
    for host in EVERYWHERE:
        client = enter(host, **login)
        subscribe(client, f"/topic/{name}", **durable)
        assert bodies(take(client, 1)) == [host.encode()]
        assert client.silent()


def test_temporary_destinations(enter: Enter, name: str) -> None:
    """The name by which others know it means nothing elsewhere."""
    owner, other = enter("shop"), enter("shop")
    subscribe(owner, "/temp-queue/mine")
    owner.send("SEND", b"?", destination=f"/queue/{name}", reply_to="/temp-queue/mine")
    subscribe(other, f"/queue/{name}")
    [request] = take(other, 1)
    known = request.headers["reply-to"]
    assert known.startswith("/remote-temp-queue/")
    for host in (OWN, "bank"):
        client = enter(host)
        expect_error(client.ask("SEND", b"!", destination=known), "does not exist")
        expect_error(client.ask("SUBSCRIBE", destination=known, id="1"), "does not exist")
    assert owner.silent()
    accepted(other.ask("SEND", b"!", destination=known))
    assert bodies(take(owner, 1)) == [b"!"]


def test_advisories_and_what_is_connected(enter: Enter, name: str) -> None:
    listener, shop = enter("bank"), Administrator(enter("shop"))
    subscribe(listener, "/topic/ActiveMQ.Advisory.>")
    other = enter("shop")
    subscribe(other, f"/queue/{name}")
    other.send("DISCONNECT", receipt="bye")
    other.expect("RECEIPT")
    assert listener.silent()
    bank = Administrator(enter("bank"))
    take(listener, 3)  # a connection, a temporary queue and its consumer: of their own they hear
    ids = {each["id"] for each in bank.call("connections")}
    assert ids.isdisjoint(each["id"] for each in shop.call("connections"))
    with pytest.raises(Fault, match="there is no connection"):
        shop.call("close_connection", ids.pop())


def test_statistics_and_administration(enter: Enter, name: str) -> None:
    """Another's queues are not counted, not listed and not purged; stores, ids and limits are each one's own."""
    put(enter("shop"), f"/queue/{name}", b"1", b"2")
    shop, bank, own = (Administrator(enter(host)) for host in ("shop", "bank", OWN))
    others = (bank, own)
    assert shop.call("queue", name)["waiting"] == 2
    for other in others:
        with pytest.raises(Fault, match=name):
            other.call("queue", name)
        with pytest.raises(Fault, match=name):
            other.call("purge", name)
        assert other.call("queues", name) == []
    told = [each.call("info") for each in (shop, bank, own)]
    assert len({each["node"] for each in told}) == 3
    assert len({each["store"] for each in told}) == 3
    assert [each["memory_limit"] for each in told] == [SMALL, 512 * MB, 512 * MB]
    hosts = own.call("settings")["virtual_host"]
    assert [each["name"] for each in hosts] == ["shop", "bank", "yard", "staff-only"]
    assert bank.call("settings")["virtual_host"] == []
    assert shop.call("settings")["max_redeliveries"]["value"] == 0
    subscribe(bank.client, "/temp-queue/numbers", id="numbers")
    bank.client.send(
        "SEND",
        destination=f"/queue/ActiveMQ.Statistics.Destination.{name}",
        reply_to="/temp-queue/numbers",
        **{"ActiveMQ.Statistics.Destination.List.End.With.Null": "true"},
    )
    assert name.encode() not in bank.client.expect("MESSAGE").body


def test_schedule(enter: Enter, name: str) -> None:
    shop, own = Administrator(enter("shop")), Administrator(enter())
    schedule(shop.client, name, 3_600_000)
    [job] = shop.call("schedule")["jobs"]
    assert own.call("schedule")["jobs"] == []
    with pytest.raises(Fault, match="no scheduled message"):
        own.call("unschedule", job["id"])
    assert shop.call("unschedule", job["id"]) == {"removed": 1}
    schedule(shop.client, name, 100)
    subscribe(shop.client, f"/queue/{name}")
    assert shop.client.expect("MESSAGE").body == b"100"


def schedule(client: Client, name: str, delay: int) -> None:
    """Send a message that comes so many milliseconds later and says so."""
    headers = {"destination": f"/queue/{name}", "receipt": "s", "AMQ_SCHEDULED_DELAY": str(delay)}
    client.write(Frame("SEND", headers, str(delay).encode()).encode("1.2"))
    client.expect("RECEIPT", receipt_id="s")


def test_ids_against_repetition(enter: Enter, name: str) -> None:
    for host in EVERYWHERE:
        put(enter(host), f"/queue/{name}", b"1", b"2", dedup_id="the same")
    for host in EVERYWHERE:
        assert drain(enter(host), f"/queue/{name}") == [b"1"]


def test_tracking(enter: Enter, name: str) -> None:
    login = {"login": "alice"}
    put(enter("shop", **login), f"/queue/{name}", b"1", report="processed", correlation_id=name)
    assert Administrator(enter("shop", **login)).call("tracked", name)["status"] == "QUEUED"
    with pytest.raises(Fault, match="nothing is known"):
        Administrator(enter(**login)).call("tracked", name)


def test_dead_letters(enter: Enter, name: str) -> None:
    """They go where the message was, by the rules of that host."""
    for host in (OWN, "shop"):
        client = enter(host)
        put(client, f"/queue/{name}", host.encode())
        subscribe(client, f"/queue/{name}", ack="client-individual")
        accepted(nack(client, *take(client, 1)))
        client.close()
    assert b"shop" in drain(enter("shop"), "/queue/ActiveMQ.DLQ")
    assert drain(enter(), "/queue/ActiveMQ.DLQ") == [b"localhost"]
    assert drain(enter("bank"), "/queue/ActiveMQ.DLQ") == []


def test_policies_and_composites(enter: Enter) -> None:
    """What one says holds there only."""
    for host in EVERYWHERE:
        client = enter(host)
        accepted(client.ask("SEND", b"1", destination="/queue/small"))
        second = client.ask("SEND", b"2", destination="/queue/small")
        assert second.command == ("ERROR" if host == "shop" else "RECEIPT")
        put(client, "/queue/both", b"x")
        assert drain(client, "/queue/one") == ([b"x"] if host == "shop" else [])


def test_limits_of_a_frame(enter: Enter, name: str) -> None:
    put(enter("shop"), f"/queue/{name}", bytes(1001))
    client = enter("bank")
    put(client, f"/queue/{name}", bytes(1000))
    client.send("SEND", bytes(1001), destination=f"/queue/{name}")
    client.expect("ERROR")
    client.expect_closed()


def test_one_that_is_full(enter: Enter, name: str) -> None:
    """The others go on."""
    shop = enter("shop")
    answers = [
        shop.ask("SEND", bytes(50_000), destination=f"/queue/{name}", persistent="false").command
        for _ in range(5)
    ]
    assert answers[0] == "RECEIPT"
    assert answers[-1] == "ERROR"
    for host in (OWN, "bank"):
        put(enter(host), f"/queue/{name}", bytes(1000), persistent="false")
    drain(shop, f"/queue/{name}")
    accepted(shop.ask("SEND", b"x", destination=f"/queue/{name}", persistent="false"))


def test_transactions(enter: Enter, name: str) -> None:
    clients = [enter(host) for host in EVERYWHERE]
    for client in clients:
        accepted(client.ask("BEGIN", transaction="t"))
        accepted(client.ask("SEND", b"1", destination=f"/queue/{name}", transaction="t"))
    shop, bank, own = clients[1], clients[2], clients[0]
    accepted(shop.ask("COMMIT", transaction="t"))
    accepted(bank.ask("ABORT", transaction="t"))
    assert drain(enter("shop"), f"/queue/{name}") == [b"1"]
    assert drain(enter("bank"), f"/queue/{name}") == []
    assert drain(enter(), f"/queue/{name}") == []
    accepted(own.ask("COMMIT", transaction="t"))
    assert drain(enter(), f"/queue/{name}") == [b"1"]


# --- whoever has moved is served as everybody ---------------------------------------------------------


@pytest.mark.parametrize("host", [OWN, "shop"])
def test_heart_beats(enter: Enter, host: str) -> None:
    """The broker beats, and gives up who does not."""
    client = enter(host, heart_beat="200,200")
    assert read_octets(client) == b"\n"
    with contextlib.suppress(ConnectionError):
        while client.socket.recv(100):
            pass


def test_the_time_for_connect(house: BrokerProcess, enter: Enter) -> None:
    """It is over for who says nothing, and for nobody else."""
    shop = enter("shop")
    with Client(house.port, None) as silent:
        silent.expect_closed()
    assert is_served(shop)


def test_receipts_in_order(enter: Enter, name: str) -> None:
    client = enter("shop")
    for number in range(300):
        client.send("SEND", b"x", destination=f"/queue/{name}", receipt=str(number))
    assert [client.expect("RECEIPT").headers["receipt-id"] for _ in range(300)] == [
        str(number) for number in range(300)
    ]


def test_all_in_one_packet(house: BrokerProcess, enter: Enter, name: str) -> None:
    """CONNECT with what comes after it, and then nothing more: it is all done and answered."""
    with Client(house.port, None) as client:
        client.parser.version = "1.2"  # it may all be in one packet, too
        client.write(
            b"CONNECT\naccept-version:1.2\nhost:shop\n\n\0"
            b"SEND\ndestination:/queue/%b\nreceipt:1\n\nlast words\0" % name.encode()
        )
        client.socket.shutdown(socket.SHUT_WR)
        client.expect("CONNECTED")
        client.expect("RECEIPT", receipt_id="1")
        client.expect_closed()
    assert drain(enter("shop"), f"/queue/{name}") == [b"last words"]


def test_who_reads_nothing(enter: Enter, name: str) -> None:
    """What is written for it waits, it gets all of it in order, and others are served meanwhile."""
    client, sender = enter("yard"), enter("yard")
    subscribe(client, f"/topic/{name}")
    sent = [b"%d " % number + bytes(MB) for number in range(12)]
    put(sender, f"/topic/{name}", *sent, persistent="false")
    assert is_served(enter("bank"))
    assert bodies(take(client, 12)) == sent
    assert is_served(client)


def test_over_tls(house: BrokerProcess, enter: Enter, name: str) -> None:
    with SecureClient(house.ports["stomp+ssl"], host="shop") as client:
        assert where(client) == "shop"
        subscribe(client, f"/queue/{name}", ack="client-individual")
        put(enter("shop"), f"/queue/{name}", bytes(MB))
        [message] = take(client, 1)
        accepted(ack(client, message))
        client.send("DISCONNECT", receipt="bye")
        client.expect("RECEIPT")
    assert drain(enter("shop"), f"/queue/{name}") == []


def test_an_error_instead_of_connected(house: BrokerProcess, enter: Enter, name: str) -> None:
    """It comes, and the link ends, whatever the reason."""
    enter("shop", client_id=name)
    for headers, text in (
        (b"host:shop\nclient-id:" + name.encode(), "already connected"),
        (b"host:shop\nheart-beat:x", "heart-beat"),
        (b"host:staff-only\nlogin:alice", "User alice is not authorized to enter"),
        (b"host:staff-only", "User anonymous is not authorized to enter"),
    ):
        with Client(house.port, None) as client:
            client.write(b"CONNECT\naccept-version:1.2\n%b\n\n\0" % headers)
            expect_error(client.frame(), text)
            client.expect_closed()
    assert is_served(enter("shop"))


# --- start and stop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["lmdb:{}/data", "sqlite:{}/hoof.db"])
def test_kill_and_restart(start_broker: StartBroker, tmp_path: Path, store: str) -> None:
    """What was confirmed is there, each at its host; what one had acknowledged is gone."""
    settings: dict[str, Any] = {"virtual_host": {"shop": {}, "bank": {}}}
    nodes = []
    for ending in ("kill", "stop", "kill"):
        broker = start_broker(store.format(tmp_path), **settings)
        clients = {host: broker.connect(host=host) for host in EVERYWHERE}
        nodes.append([Administrator(each).call("info")["node"] for each in clients.values()])
        for host, client in clients.items():
            put(client, "/queue/kept", f"{host} {ending}".encode())
            put(client, "/queue/taken", b"x")
            subscribe(client, "/queue/taken", id="taken", ack="client-individual")
            accepted(ack(client, *take(client, 1)))
        if ending == "stop":
            clients["shop"].send("SEND", b"shop at the end", destination="/queue/kept")
            clients["shop"].send("DISCONNECT", receipt="bye")
            clients["shop"].expect("RECEIPT")
            assert broker.stop() == 0
        else:
            broker.kill()
        for client in clients.values():
            client.close()
    broker = start_broker(store.format(tmp_path), **settings)
    for host in EVERYWHERE:
        with broker.connect(host=host) as client:
            more = [b"shop at the end"] if host == "shop" else []
            expected = [b"%b kill", b"%b stop", *more, b"%b kill"]
            assert drain(client, "/queue/kept") == [
                each % host.encode() if b"%" in each else each for each in expected
            ]
            assert drain(client, "/queue/taken") == []
    assert nodes[0] == nodes[1] == nodes[2]
    assert len({*nodes[0]}) == 3


def test_a_stop_keeps_the_promises_of_each(start_broker: StartBroker) -> None:
    """Who has sent gets its RECEIPT before the link ends, at every host."""
    broker = start_broker(virtual_host={"shop": {}, "bank": {}})
    clients = [broker.connect(host=host) for host in EVERYWHERE]
    for client in clients:
        subscribe(client, "/queue/a", ack="client-individual")
        client.send("SEND", b"x", destination="/queue/a", receipt="sent")
        frames = [client.frame(), client.frame()]  # it is held by its consumer when the end comes
        assert {frame.command for frame in frames} == {"RECEIPT", "MESSAGE"}
    for client in clients:
        client.socket.shutdown(socket.SHUT_WR)
    assert broker.stop() == 0
    for client in clients:
        client.expect_closed()
        client.close()
    broker = start_broker(virtual_host={"shop": {}, "bank": {}})
    for host in EVERYWHERE:
        with broker.connect(host=host) as client:
            assert drain(client, "/queue/a") == [b"x"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"virtual_host": {"shop": {"store": "nonsense:"}}}, "[virtual_host.shop]: unknown store"),
        (
            {"virtual_host": {"shop": {"store": "lmdb:{}/data"}}},
            "[virtual_host.shop]: {}/data is in use by another broker",
        ),
        (
            {"virtual_host": {"a": {}, "b": {"store": "lmdb:{}/file/x"}}},
            "[virtual_host.b]: cannot make the data directory {}/file/x: Not a directory",
        ),
        (
            {
                "virtual_host": {
                    "shop": {"composite": {"/queue/a": {"forward_to": ["/peer/b/queue/c"]}}}
                }
            },
            "[virtual_host.shop]: composite destinations: ",
        ),
    ],
)
def test_one_that_cannot_be_opened(
    tmp_path: Path, start_broker: StartBroker, settings: dict[str, object], text: str
) -> None:
    """Nothing starts, a line says which and why, and the stores of the others are as they were."""
    (tmp_path / "file").touch()
    config = tmp_path / "bad.toml"
    config.write_text(to_toml(settings).replace("{}", str(tmp_path)))
    words = ["--store", f"lmdb:{tmp_path / 'data'}", "--config", str(config)]
    code = "import sys; from broker.cli import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "out").open("wb") as out, Path("/dev/null").open() as nothing:
        process = Fork(
            code,
            *("run", "--port", "0", *words),
            stdin=nothing.fileno(),
            stdout=out.fileno(),
            stderr=out.fileno(),
        )
        assert process.wait(DEADLINE) == 2
    said = (tmp_path / "out").read_text()
    assert said.startswith("hoofbeat: " + text.replace("{}", str(tmp_path))), said
    assert said.count("\n") == 1
    assert start_broker(virtual_host={"a": {}}).stop() == 0


def test_the_line_with_ready(tmp_path: Path, start_broker: StartBroker) -> None:
    """It names the virtual hosts; their stores lie beside that of the broker."""
    broker = start_broker(virtual_host={"shop": {}, "b.example": {}})
    assert broker.line.endswith(f", store lmdb:{tmp_path}/data, virtual hosts shop, b.example\n")
    record = Record(ready=broker.line.strip())  # what `hoofbeat status` reads
    assert record.urls == broker.url
    assert record.virtual_hosts == "shop, b.example"
    assert broker.stop() == 0
    for name in ("shop", "b.example"):
        assert (tmp_path / "data" / "virtual_hosts" / name / "data.mdb").is_file()


# --- peers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["stomp", "http"])
def test_peers_of_a_virtual_host(tmp_path_factory: pytest.TempPathFactory, scheme: str) -> None:
    """A link joins one virtual host here and one there; what the others have does not pass."""
    there = tmp_path_factory.mktemp("there")
    secret = {"passcode": "secret"}
    settings: dict[str, object] = {
        "name": "there",
        "unknown_host": "refuse",
        "listener": [{"protocol": "http", "port": 0}],
        "virtual_host": {"shop": {"peer": {"here": secret}}, "bank": {}},
    }
    far = BrokerProcess("memory:", there, settings)
    peer = {
        "url": f"{scheme}://127.0.0.1:{far.ports[scheme]}",
        "virtual_host": "shop",
        **secret,
    }
    settings = {"virtual_host": {"desk": {"name": "here", "peer": {"there": peer}}}}
    near = BrokerProcess("memory:", tmp_path_factory.mktemp("here"), settings)
    try:
        with (
            near.connect(host="desk") as desk,
            far.connect(host="shop") as shop,
            far.connect(host="bank") as bank,
            near.connect() as other,
        ):
            for client in (shop, bank):
                subscribe(client, "/queue/in")
            subscribe(desk, "/queue/back")
            put(desk, "/peer/there/queue/in", b"hello")
            assert shop.expect("MESSAGE").body == b"hello"
            put(shop, "/peer/here/queue/back", b"thanks")
            assert desk.expect("MESSAGE").body == b"thanks"
            assert bank.silent()
            for client in (other, bank):
                answer = client.ask("SEND", b"x", destination="/peer/there/queue/in")
                expect_error(answer, "There is no peer there")
    finally:
        near.kill()
        far.kill()
