"""Who is let in, and who is not: by TCP, by TLS and by HTTP; nothing of a stranger's is obeyed, whatever he tries."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stomp

import rpc
from broker.auth.passcodes import nobodys_hash
from broker.auth.reception import MOST_EACH
from broker.stomp import Frame
from tests.certificates import Authority
from tests.conftest import StartBroker
from tests.harness import DEADLINE, PASSCODE, BrokerProcess, Client, write_users
from tests.scenarios.administrator import Administrator
from tests.scenarios.conftest import Connect
from tests.scenarios.people import post
from tests.scenarios.steps import drain, expect_error, is_served, subscribe

USERS = {"alice": "administrators", "bob": "shops"}
ALICE = {"login": "alice", "passcode": PASSCODE}
#: Somebody whose passcode takes a second or two to check, with any passcode; looked up, too, for those who do not exist.
SLOW = "slow:" + nobodys_hash("$argon2id$v=19$m=65536,t=12,p=1$salt$digest") + ":\n"

Speak = Callable[..., Client]
Dial = Callable[..., Client]


class SecureClient(Client):
    """A client of Python's own TLS."""

    def dial(self, port: int) -> socket.socket:
        return ssl._create_unverified_context().wrap_socket(super().dial(port))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker that checks logins, with TLS and HTTP beside TCP; one more listener takes everybody."""
    directory = tmp_path_factory.mktemp("guarded")
    certificate, key = Authority(directory).issue()
    tls = {"tls_certificate": certificate, "tls_key": key}
    settings: dict[str, object] = {
        "users": write_users(directory, **USERS),
        "login_failures": 0,
        "listener": [
            {"port": 0, **tls},
            {"port": 0, "protocol": "http"},
            {"port": 0, "protocol": "http", "anonymous": True, **tls},
        ],
    }
    broker = BrokerProcess(f"lmdb:{directory / 'data'}", directory, settings)
    yield broker
    broker.kill()


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Return a function that connects a client to a port."""
    clients: list[Client] = []

    def new(
        port: int, version: str | None = "1.2", kind: type[Client] = Client, **headers: str
    ) -> Client:
        clients.append(kind(port, version, **headers))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture(params=["stomp", "stomp+ssl"])
def speak(guarded: BrokerProcess, dial: Dial, request: pytest.FixtureRequest) -> Speak:
    """Return a function that connects a client, over TCP or TLS."""
    kind = SecureClient if request.param == "stomp+ssl" else Client

    def new(version: str | None = "1.2", **headers: str) -> Client:
        return dial(guarded.ports[request.param], version, kind, **headers)

    return new


def connect_frame(**headers: str) -> bytes:
    return Frame("CONNECT", {"accept-version": "1.2", "host": "h", **headers}).encode("1.0")


def send_frame(queue: str, body: bytes, **headers: str) -> bytes:
    return Frame("SEND", {"destination": queue, **headers}, body).encode("1.2")


def refusal(login: str) -> str:
    return f"User name [{login}] or password is invalid."


def left_in(guarded: BrokerProcess, queue: str) -> list[bytes]:
    with Client(guarded.port, **ALICE) as client:
        return drain(client, queue)


# --- allowed, refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_user_is_let_in(speak: Speak, version: str, queue: str) -> None:
    client = speak(version, **ALICE)
    assert client.connected.headers["version"] == version
    assert is_served(client)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"login": "alice", "passcode": "wrong"}, "alice"),
        ({"login": "alice", "passcode": ""}, "alice"),
        ({"login": "alice"}, "alice"),
        ({"login": "Alice", "passcode": PASSCODE}, "Alice"),
        ({"login": "nobody", "passcode": PASSCODE}, "nobody"),
        ({"login": "anonymous"}, "anonymous"),
        ({"login": "peer:B", "passcode": PASSCODE}, "peer:B"),
        ({"login": "@administrators", "passcode": PASSCODE}, "@administrators"),
        ({"login": "x" * 5000, "passcode": PASSCODE}, "x" * 100 + "…"),
        ({"passcode": PASSCODE}, ""),
        ({}, ""),
    ],
)
def test_others_are_not_and_all_hear_the_same(
    speak: Speak, headers: dict[str, str], shown: str
) -> None:
    client = speak(None)
    client.write(connect_frame(**headers))
    error = client.expect("ERROR")
    hint = "CONNECT says who it is with the headers login and passcode."
    assert error.body.decode() == f"{refusal(shown)}\n{hint}\n"
    assert error.headers["message"].replace("\\c", ":") == refusal(shown)
    client.expect_closed()


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE", "BEGIN", "ACK", "NACK", "COMMIT"])
def test_nothing_before_connect(
    speak: Speak, guarded: BrokerProcess, queue: str, command: str
) -> None:
    client = speak(None)
    headers = {"destination": queue, "id": "1", "transaction": "t", "receipt": "r"}
    client.write(Frame(command, headers).encode("1.0") + connect_frame(**ALICE))
    expect_error(client.frame(), f"unexpected frame before CONNECT or STOMP frame: {command}")
    client.expect_closed()
    assert left_in(guarded, queue) == []


def test_nobody_becomes_somebody_else(speak: Speak) -> None:
    """A second CONNECT ends the link, be it right or wrong."""
    for headers in (ALICE, {"login": "bob", "passcode": PASSCODE}, {"login": "alice"}):
        client = speak(login="bob", passcode=PASSCODE)
        client.write(connect_frame(**headers))
        expect_error(client.frame(), "duplicate CONNECT or STOMP frame")
        client.expect_closed()


def test_nobody_becomes_somebody_else_while_he_is_checked(speak: Speak) -> None:
    client = speak(None)
    client.write(connect_frame(login="bob", passcode="wrong") + connect_frame(**ALICE))
    expect_error(client.frame(), refusal("bob"))
    client.expect_closed()
    client = speak(None)
    client.parser.version = "1.2"
    client.write(connect_frame(**ALICE) + connect_frame(login="bob", passcode=PASSCODE))
    client.expect("CONNECTED")
    expect_error(client.frame(), "duplicate CONNECT or STOMP frame")
    client.expect_closed()


@pytest.mark.parametrize("passcode", [PASSCODE, "wrong"])
def test_a_connect_in_pieces(speak: Speak, passcode: str) -> None:
    client = speak(None)
    for octet in connect_frame(login="alice", passcode=passcode):
        client.write(bytes([octet]))
    if passcode == PASSCODE:
        client.expect("CONNECTED")
        assert is_served(client)
    else:
        expect_error(client.frame(), refusal("alice"))
        client.expect_closed()


def test_what_comes_behind_a_refused_connect_is_not_obeyed(
    speak: Speak, guarded: BrokerProcess, queue: str
) -> None:
    """In the same packet or in the next ones: no message, no subscription, no RECEIPT."""
    smuggled = b"".join(send_frame(queue, b"%d" % n, receipt=f"{n}") for n in range(100))
    client = speak(None)
    client.write(connect_frame(login="alice", passcode="wrong") + smuggled)
    expect_error(client.frame(), refusal("alice"))
    client.expect_closed()
    client = speak(None)
    client.write(connect_frame(login="alice", passcode="wrong"))
    for _ in range(3):
        client.write(smuggled)
    expect_error(client.frame(), refusal("alice"))
    client.expect_closed()
    assert left_in(guarded, queue) == []


def test_what_comes_behind_a_connect_is_obeyed_in_order(speak: Speak, queue: str) -> None:
    """In the version that is agreed on, though the answer takes its time."""
    client = speak(None)
    client.parser.version = "1.2"
    frames = [
        connect_frame(**ALICE),
        b"\n\nSUBSCRIBE\nid:a\\cb\ndestination:%b\nreceipt:s\n\n\0" % queue.encode(),
        *(send_frame(queue, b"%d" % number) for number in range(200)),
    ]
    data = b"".join(frames)
    half = len(data) // 2  # in the middle of a frame
    client.write(data[:half])
    client.write(data[half:])
    client.expect("CONNECTED")
    client.expect("RECEIPT", receipt_id="s")
    bodies = [client.expect("MESSAGE", subscription="a:b").body for _ in range(200)]
    assert bodies == [b"%d" % number for number in range(200)]


def test_a_large_message_behind_connect(speak: Speak, queue: str) -> None:
    """It does not count as part of the CONNECT, which may not be large."""
    client = speak(None)
    client.parser.version = "1.2"
    client.write(connect_frame(**ALICE) + send_frame(queue, b"x" * 500_000, receipt="r"))
    client.expect("CONNECTED")
    client.expect("RECEIPT", receipt_id="r")


@pytest.mark.parametrize("passcode", [PASSCODE, "wrong"])
def test_printf_to_nc(guarded: BrokerProcess, dial: Dial, queue: str, passcode: str) -> None:
    """All is said at once and that half of the link closed; the answers come, to the last."""
    client = dial(guarded.port, None)
    client.parser.version = "1.2"
    client.write(
        connect_frame(login="alice", passcode=passcode)
        + send_frame(queue, b"1", receipt="1")
        + b"DISCONNECT\nreceipt:bye\n\n\0"
    )
    client.socket.shutdown(socket.SHUT_WR)
    if passcode == PASSCODE:
        client.expect("CONNECTED")
        client.expect("RECEIPT", receipt_id="1")
        client.expect("RECEIPT", receipt_id="bye")
    else:
        expect_error(client.frame(), refusal("alice"))
    client.expect_closed()
    assert left_in(guarded, queue) == ([b"1"] if passcode == PASSCODE else [])


def test_hit_and_run(speak: Speak, guarded: BrokerProcess, queue: str) -> None:
    """Who sends and is gone before he was let in is heard if he would have been let in."""
    for passcode, body in (("wrong", b"stranger"), (PASSCODE, b"alice")):
        client = speak(None)
        client.write(connect_frame(login="alice", passcode=passcode) + send_frame(queue, body))
        client.close()
    with Client(guarded.port, **ALICE) as reader:
        subscribe(reader, queue)
        assert reader.expect("MESSAGE").body == b"alice"
        assert reader.silent()


def test_a_client_that_is_cut_off_while_it_is_checked_harms_nobody(guarded: BrokerProcess) -> None:
    for _ in range(20):
        client = Client(guarded.port, None)
        client.write(connect_frame(**ALICE))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # with a reset
    with Client(guarded.port, **ALICE) as client:
        assert is_served(client)


# --- anonymous ------------------------------------------------------------------------------------


def test_anonymous_only_where_it_is_said(
    start_broker: StartBroker, dial: Dial, tmp_path: Path
) -> None:
    """By listener; and who says a login has it checked."""
    users = write_users(tmp_path, **USERS)
    broker = start_broker(
        "memory:", users=users, populate_user_id=True, listener=[{"port": 0, "anonymous": True}]
    )
    first, second = broker.all_ports
    strict = dial(first, None)
    strict.write(connect_frame())
    expect_error(strict.frame(), refusal(""))
    for headers in ({}, {"login": "", "passcode": "x"}):
        client = dial(second, **headers)
        subscribe(client, "/topic/a")
        client.send("SEND", destination="/topic/a")
        assert client.expect("MESSAGE").headers["JMSXUserID"] == "anonymous"
    for headers in ({"login": "alice"}, {"login": "anonymous"}):
        client = dial(second, None)
        client.write(connect_frame(**headers))
        expect_error(client.frame(), refusal(headers["login"]))
    assert is_served(dial(second, **ALICE))


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    ["", "alice:wrong", "nobody:x", "alice:", "alice", f":{PASSCODE}", f"alice\nx:y:{PASSCODE}"],
)
def test_http_asks_who_it_is(guarded: BrokerProcess, queue: str, login: str) -> None:
    response = post(guarded.ports["http"], queue, login)
    assert response.status == 401
    assert response.challenge == 'Basic realm="hoofbeat", charset="UTF-8"'
    assert left_in(guarded, queue) == []


def test_http_lets_users_in(guarded: BrokerProcess, queue: str) -> None:
    assert post(guarded.ports["http"], queue, f"alice:{PASSCODE}").status == 201
    assert left_in(guarded, queue) == [b"x"]


def test_http_lets_nobody_in_who_cannot_be_understood(guarded: BrokerProcess, queue: str) -> None:
    """He wants to be somebody, so he is not taken for anonymous."""
    for text in ("Bearer abc", "Basic !", "Basic"):
        assert post(guarded.ports["http"], queue, Authorization=text).status == 401


def test_http_without_a_login_is_anonymous(start_broker: StartBroker, tmp_path: Path) -> None:
    users = write_users(tmp_path, **USERS)
    web = {"port": 0, "protocol": "http", "anonymous": True}
    port = start_broker("memory:", users=users, listener=[web]).ports["http"]
    assert post(port, "/queue/a").status == 201
    assert post(port, "/queue/a", f"alice:{PASSCODE}").status == 201
    assert post(port, "/queue/a", "alice:wrong").status == 401


# --- the users file -------------------------------------------------------------------------------


def test_the_file_is_looked_at_when_somebody_logs_in(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """New users, new passcodes and those who are gone: at once. What is broken changes nothing, and is told."""
    users = Path(write_users(tmp_path, alice=""))
    broker = start_broker("memory:", users=str(users), login_failures=0)
    alice = connect(to=broker, **ALICE)
    users.write_text(users.read_text().replace("alice", "bob"))
    assert is_served(alice)
    assert is_served(connect(to=broker, login="bob", passcode=PASSCODE))
    assert is_refused(broker, **ALICE)
    users.write_text(users.read_text() + "broken\n")
    for _ in range(3):
        assert is_served(connect(to=broker, login="bob", passcode=PASSCODE))
    users.write_text("")
    assert is_refused(broker, login="bob", passcode=PASSCODE)
    users.unlink()
    assert is_refused(broker, login="bob", passcode=PASSCODE)
    log = (tmp_path / "broker.log").read_text()
    reason = f"{users}, line 2: a line reads NAME:HASH:GROUP,GROUP"
    assert log.count(f"the users stay as they were: {reason}") == 1
    assert "argon2" not in log


def is_refused(broker: BrokerProcess, **headers: str) -> bool:
    with Client(broker.port, None) as client:
        client.write(connect_frame(**headers))
        return client.frame().headers.get("message") == refusal(headers["login"])


def test_groups_and_who_is_disabled(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    users = Path(write_users(tmp_path, alice="x,administrators", bob="", carol="administrators"))
    users.write_text(users.read_text().replace("carol:", "carol:!"))
    users.chmod(0o644)
    broker = start_broker("memory:", users=str(users))
    assert f"everybody on this machine can read the hashes in {users}" in broker.log.read_text()
    assert Administrator(connect(to=broker, **ALICE)).call("queues") == []
    assert is_refused(broker, login="carol", passcode=PASSCODE)


def test_other_checkers(start_broker: StartBroker, connect: Connect, tmp_path: Path) -> None:
    """Asked after the users file, which still knows the groups and who is disabled."""
    users = Path(write_users(tmp_path, alice=""))
    users.write_text(f"{users.read_text()}dave:-:administrators\nerin:!:\n")
    (tmp_path / "plain").write_text("frank:f\nalice:a\n")
    broker = start_broker(
        "memory:",
        users=str(users),
        login_failures=0,
        auth=["memory:dave:d:erin:e:peer:p:anonymous:a", f"file:{tmp_path / 'plain'}"],
    )
    assert Administrator(connect(to=broker, login="dave", passcode="d")).call("queues") == []
    for login, passcode in (("frank", "f"), ("alice", "a"), ("alice", PASSCODE)):
        assert is_served(connect(to=broker, login=login, passcode=passcode))
    for login, passcode in (("erin", "e"), ("dave", "f"), ("frank", "d"), ("anonymous", "a")):
        assert is_refused(broker, login=login, passcode=passcode)
    with pytest.raises(rpc.BrokerRefused):
        rpc.Client(f"stomp://frank:d@127.0.0.1:{broker.port}", service="broker").connect()


# --- slowly ---------------------------------------------------------------------------------------


def test_who_guesses_has_to_wait(start_broker: StartBroker, dial: Dial, tmp_path: Path) -> None:
    """And others with the same address, unless they were right before; right or wrong, and with other logins."""
    broker = start_broker("memory:", users=write_users(tmp_path, **USERS), login_failures=2)
    bob = dial(broker.port, login="bob", passcode=PASSCODE)
    for _ in range(2):
        assert is_refused(broker, login="alice", passcode="wrong")
    begun = time.monotonic()
    early, late = dial(broker.port, None), dial(broker.port, None)
    early.write(connect_frame(login="nobody", passcode="x"))
    late.write(connect_frame(**ALICE))
    assert is_served(bob)
    assert is_served(dial(broker.port, login="bob", passcode=PASSCODE))
    expect_error(early.frame(), refusal("nobody"))
    late.expect("CONNECTED")
    assert time.monotonic() - begun >= 1.0


def test_not_everybody_is_kept_waiting(
    start_broker: StartBroker, dial: Dial, tmp_path: Path
) -> None:
    """Who is made to wait takes memory, also when he has hung up: of one address only so many do."""
    broker = start_broker("memory:", users=write_users(tmp_path, **USERS), login_failures=1)
    for _ in range(2):
        assert is_refused(broker, login="alice", passcode="wrong")
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(2 * MOST_EACH):
            client = stack.enter_context(Client(broker.port, None))
            client.write(connect_frame(login="alice", passcode="wrong"))
            selector.register(client.socket, selectors.EVENT_READ, client)
        [(key, _), *_] = selector.select(DEADLINE)
        answer = key.data.frame()
    expect_error(answer, "Logins cannot be checked just now")
    assert answer.headers["retry"] == "true"


PEER = {"hoofbeat-peer": "B", "hoofbeat-node": "b", "hoofbeat-max-body": "1000"}


def test_a_peer_needs_no_login(start_broker: StartBroker, dial: Dial, tmp_path: Path) -> None:
    """Its passcode is that of its section; a user's is no use to it."""
    users = write_users(tmp_path, **USERS)
    broker = start_broker("memory:", name="A", users=users, peer={"B": {"passcode": "of both"}})
    for headers in ({"passcode": "of both"}, {"passcode": "of both", "login": "nobody"}):
        client = dial(broker.port, None)
        client.write(connect_frame(**PEER, **headers))
        client.expect("CONNECTED", hoofbeat_peer="A")
    client = dial(broker.port, None)
    client.write(connect_frame(**PEER, **ALICE))
    expect_error(client.frame(), "does not know a peer B")


def test_who_guesses_a_peers_passcode_has_to_wait(start_broker: StartBroker, dial: Dial) -> None:
    """Also where everybody else is let in."""
    peer = {"B": {"passcode": PASSCODE}}
    broker = start_broker("memory:", name="A", login_failures=2, peer=peer)
    begun = time.monotonic()
    for _ in range(3):
        client = dial(broker.port, None)
        client.write(connect_frame(**PEER, passcode="wrong"))
        expect_error(client.frame(), "does not know a peer B")
    assert time.monotonic() - begun >= 1.0


def test_a_broker_that_stops_while_somebody_is_checked(
    start_broker: StartBroker, dial: Dial, tmp_path: Path
) -> None:
    """Whether a hash is looked at, or he has to wait before that: he is not let in."""
    users = Path(write_users(tmp_path, **USERS))
    users.write_text(SLOW + users.read_text())
    broker = start_broker("memory:", users=str(users), login_failures=1)
    waiting = [dial(broker.port, None) for _ in range(3)]
    for login, client in zip(("slow", "alice", "bob"), waiting, strict=True):
        client.write(connect_frame(login=login, passcode=PASSCODE) + send_frame("/queue/a", b"x"))
        if login == "slow":
            assert is_refused(broker, login="alice", passcode="wrong")
    assert broker.stop() == 0
    for client in waiting:
        client.expect_closed()
    assert "Traceback" not in (tmp_path / "broker.log").read_text()


def test_a_flood_of_logins(start_broker: StartBroker, dial: Dial, tmp_path: Path) -> None:
    """As many as can be checked soon wait; others are told to come again. Who is connected does not notice."""
    users = Path(write_users(tmp_path, **USERS))
    broker = start_broker("memory:", users=str(users))
    alice = dial(broker.port, **ALICE)
    users.write_text(SLOW)
    flood = [dial(broker.port, None) for _ in range(150)]
    for number, client in enumerate(flood):
        client.write(connect_frame(login=f"nobody-{number}", passcode="x"))
    answers = [expect_error(client.frame(), "Logins cannot be") for client in flood[-15:]]
    assert {answer.headers["retry"] for answer in answers} == {"true"}
    flood[-1].expect_closed()
    for _ in range(20):
        assert is_served(alice)


# --- clients --------------------------------------------------------------------------------------


def test_stomp_py(guarded: BrokerProcess) -> None:
    for passcode, is_right in ((PASSCODE, True), ("wrong", False)):
        connection = stomp.Connection12([("127.0.0.1", guarded.port)], reconnect_attempts_max=1)
        if is_right:
            connection.connect("alice", passcode, wait=True)
        else:
            with pytest.raises(stomp.exception.ConnectFailedException):
                connection.connect("alice", passcode, wait=True)
        connection.disconnect()


def test_remote_calls(guarded: BrokerProcess) -> None:
    """A login in the URL; a wrong one is told in the broker's words, and a worker with one does not begin."""
    address = f"127.0.0.1:{guarded.port}"
    secret = PASSCODE.replace(" ", "%20")
    with rpc.Client(f"stomp://alice:{secret}@{address}", service="broker") as client:
        assert client.call("rpc.ping") == "pong"
    wrong = f"stomp://alice:wrong@{address}"
    said = r"^User name \[alice\] or password is invalid"
    with (
        rpc.Client(wrong, service="broker") as client,
        pytest.raises(rpc.BrokerRefused, match=said),
    ):
        client.call("rpc.ping")
    with pytest.raises(rpc.BrokerRefused, match=said):
        rpc.Worker(wrong, service="mine").run()


def test_nobodys_passcode_is_in_the_log(guarded: BrokerProcess, dial: Dial) -> None:
    """Neither right ones nor wrong ones, of all tests above."""
    client = dial(guarded.port, None)
    client.write(
        b"CONNECT\naccept-version:1.2\nlogin:alice\npasscode:%b\nheart-beat:often\n\n\0"
        % PASSCODE.encode()
    )
    assert PASSCODE not in str(client.expect("ERROR"))
    log = guarded.log.read_text()
    assert PASSCODE not in log
    assert "wrong" not in log
