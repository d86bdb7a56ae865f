"""Both roles of a link: which version, which heart-beats, when an end is given up."""

import pytest

from broker.stomp import ClientSession, Frame, HandshakeError, Parser, ServerSession, Session
from broker.stomp.frame import CLIENT_COMMANDS
from broker.stomp.session import choose_version, illegal, read_heart_beat
from tests.stomp.malformed import HANDSHAKES, MISPLACED, Malformed


def first_frame(data: bytes) -> Frame | None:
    """Return the frame a link begins with, or None where the bytes make none."""
    frames = Parser().feed(data)
    return frames[0] if frames else None


REFUSED = [(row, frame) for row in HANDSHAKES if (frame := first_frame(row.data)) is not None]


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, "1.0"),  # CN4
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.0,1.1,2.0", "1.1"),  # CN5
        ("1.1 , 1.0", "1.1"),
        (" 1.2 ", "1.2"),
        ("1.0,10.1", "1.0"),
        (",1.1,,", "1.1"),
    ],
)
def test_the_highest_common_version_is_chosen(offered: str | None, chosen: str) -> None:
    assert choose_version(offered) == chosen


@pytest.mark.parametrize(
    "offered", ["", "1.3", "2.0,3.0", "1", "1.2.0", "1.1;1.2", "v1.2", "１.２"]
)
def test_no_common_version_names_ours(offered: str) -> None:
    """CN6: the ERROR carries our versions in a header."""
    with pytest.raises(HandshakeError, match=r"1\.0 1\.1 1\.2") as caught:
        choose_version(offered)
    assert caught.value.headers == {"version": "1.0,1.1,1.2"}
    assert caught.value.fatal


@pytest.mark.parametrize(
    ("row", "frame"),
    REFUSED,
    ids=[row.name for row, _ in REFUSED],
)
def test_refused_handshakes(row: Malformed, frame: Frame) -> None:
    session = ServerSession()
    with pytest.raises(HandshakeError) as caught:
        session.accept(frame)
    assert row.error in caught.value.text
    assert session.version is None


@pytest.mark.parametrize("row", MISPLACED, ids=[f"{row.name} ({row.version})" for row in MISPLACED])
def test_misplaced_commands_are_named_as_activemq_names_them(row: Malformed) -> None:
    parser = Parser()
    parser.version = row.version
    (frame,) = parser.feed(row.data)
    error = illegal(frame.command)
    assert row.error in error.text
    assert error.fatal


def test_an_unknown_command_is_told_the_known_ones() -> None:
    hint = illegal("send").hint
    assert all(command in hint for command in CLIENT_COMMANDS)


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_both_commands_open_a_link(command: str) -> None:
    """CN1."""
    session = ServerSession()
    assert session.accept(Frame(command, {"accept-version": "1.1"}))["version"] == "1.1"
    assert session.version == "1.1"


def test_a_refused_heart_beat_leaves_no_agreement() -> None:
    session = ServerSession()
    with pytest.raises(HandshakeError):
        session.accept(Frame("CONNECT", {"accept-version": "1.2", "heart-beat": "0"}))
    assert session.version is None


# --- heart-beats ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (None, (0, 0)),
        ("0,0", (0, 0)),
        ("1000,2000", (1000, 2000)),
        ("10 , 20", (10, 20)),
        ("0000000010,0", (10, 0)),
        ("9999999999,9999999999", (9999999999, 9999999999)),
    ],
)
def test_heart_beat_headers(header: str | None, read: tuple[int, int]) -> None:
    assert read_heart_beat(header) == read


@pytest.mark.parametrize(
    "header",
    ["", "0", ",", "1,", "T,0", "100,10,50", "-1,0", "+1,0", "1_0,0", "٣,0", "9" * 11 + ",0"],
)
def test_malformed_heart_beats_are_refused_in_activemqs_words(header: str) -> None:
    """HB2."""
    with pytest.raises(HandshakeError, match=r"^Invalid heart-beat header:") as caught:
        read_heart_beat(header)
    assert caught.value.fatal


# What the client's header says, with a least interval of 100 ms: what CONNECTED says, and the seconds
# after which the server sends, and expects, something (HB3, HB8).
SERVER = [
    (None, "0,0", 0.0, 0.0),
    ("0,0", "0,0", 0.0, 0.0),
    ("1000,0", "0,1000", 0.0, 1.0),
    ("0,1000", "1000,0", 1.0, 0.0),
    ("1000,2000", "2000,1000", 2.0, 1.0),
    ("1,1", "100,100", 0.1, 0.1),
    ("99,101", "101,100", 0.101, 0.1),
]


@pytest.mark.parametrize(("header", "answer", "sends", "expects"), SERVER)
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_the_server_gives_what_is_wanted_but_not_more_often_than_its_least(
    version: str, header: str | None, answer: str, sends: float, expects: float
) -> None:
    session = ServerSession(least_interval=100)
    headers = {"accept-version": version} | ({} if header is None else {"heart-beat": header})
    assert session.accept(Frame("CONNECT", headers)) == {"version": version, "heart-beat": answer}
    assert (session.send_every, session.expect_every) == (sends, expects)


@pytest.mark.parametrize("header", ["1000,1000", "0", "T,0"])
def test_1_0_has_no_heart_beats(header: str) -> None:
    """HB10: the header means nothing there, not even an error."""
    session = ServerSession()
    answer = session.accept(Frame("CONNECT", {"heart-beat": header}))
    assert answer == {"version": "1.0", "heart-beat": "0,0"}
    assert session.next_check() is None


@pytest.mark.parametrize("ours", [(0, 0), (0, 500), (500, 0), (50, 70), (1000, 3000), (20000, 100)])
@pytest.mark.parametrize("least", [1, 100, 5000])
def test_both_ends_agree(ours: tuple[int, int], least: int) -> None:
    """Client and server, talking only in bytes, come to the same version and the same intervals."""
    client, server = ClientSession(heart_beat=ours), ServerSession(least_interval=least)
    (connect,) = Parser().feed(client.request("localhost", "user", "a:b\\c").encode("1.2"))
    assert connect.headers["passcode"] == "a:b\\c"
    (connected,) = Parser().feed(Frame("CONNECTED", server.accept(connect)).encode("1.2"))
    client.accept(connected)
    assert client.version == server.version == "1.2"
    assert client.send_every == server.expect_every
    assert client.expect_every == server.send_every
    assert bool(client.send_every) == bool(ours[0])
    assert bool(client.expect_every) == bool(ours[1])


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_client_takes_the_version_that_the_server_chose(version: str) -> None:
    client = ClientSession((1000, 1000))
    client.accept(Frame("CONNECTED", {"version": version, "heart-beat": "500,2000"}))
    assert client.version == version
    expected = (0.0, 0.0) if version == "1.0" else (2.0, 1.0)
    assert (client.send_every, client.expect_every) == expected


def test_a_server_that_names_no_version_speaks_1_0() -> None:
    client = ClientSession((1000, 1000))
    client.accept(Frame("CONNECTED", {"session": "1"}))
    assert client.version == "1.0"
    assert client.next_check() is None


def test_the_clients_request_carries_what_it_was_given() -> None:
    request = ClientSession((1, 2)).request("vhost", "user", "secret", {"client-id": "me"})
    assert request.command == "CONNECT"
    assert request.headers == {
        "accept-version": "1.0,1.1,1.2",
        "host": "vhost",
        "heart-beat": "1,2",
        "login": "user",
        "passcode": "secret",
        "client-id": "me",
    }
    assert "login" not in ClientSession().request("vhost").headers
    assert "passcode" not in ClientSession().request("vhost").headers


def test_a_refusal_reaches_the_client_in_the_servers_words() -> None:
    client = ClientSession()
    with pytest.raises(
        HandshakeError, match=r"^User name \[x\] or password is invalid\.$"
    ) as caught:
        client.accept(
            Frame("ERROR", {"message": "User name [x] or password is invalid."}, b"more\n\xff")
        )
    assert caught.value.hint == "more\n\ufffd"
    assert client.version is None


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame("ERROR"), "unexpected ERROR instead of CONNECTED"),
        (Frame("MESSAGE"), "unexpected MESSAGE instead of CONNECTED"),
        (Frame("CONNECTED", {"version": "1.3"}), "The server chose version 1.3"),
        (Frame("CONNECTED", {"version": "1.2", "heart-beat": "x"}), "Invalid heart-beat header:x"),
    ],
)
def test_other_answers_are_refused(frame: Frame, text: str) -> None:
    client = ClientSession()
    with pytest.raises(HandshakeError, match=text):
        client.accept(frame)
    assert client.version is None


# --- time -----------------------------------------------------------------------------------------


def agreed(sends: int, expects: int, at: float = 0.0) -> Session:
    """Return a session that sends and expects so often (milliseconds), all of it last done at `at`."""
    session = Session()
    session.agree("1.2", (sends, expects), (expects, sends))
    session.heard = session.spoke = at
    return session


def test_a_heart_beat_is_owed_a_little_early_and_not_before() -> None:
    """HB5: for heart-beat:0,1000 the first LF leaves not before 900 ms, and within the second."""
    session = agreed(1000, 0, at=50.0)
    assert not session.owes_heart_beat(50.0)
    assert not session.owes_heart_beat(50.89)
    assert session.owes_heart_beat(50.91)
    assert session.owes_heart_beat(51.0)
    session.spoke = 51.0  # anything that was sent counts
    assert not session.owes_heart_beat(51.5)


@pytest.mark.parametrize(
    ("interval", "given_up_after"),
    [
        (100, 1.1),  # never less than a second more
        (999, 1.999),
        (1000, 2.0),
        (1001, 2.002),  # twice the interval
        (30_000, 60.0),
    ],
)
def test_the_grace(interval: int, given_up_after: float) -> None:
    """Twice the interval, and never less than a second more than it."""
    session = agreed(0, interval, at=1000.0)
    assert not session.is_dead(1000.0 + given_up_after - 0.0005)
    assert session.is_dead(1000.0 + given_up_after + 0.0005)
    session.heard = 1000.0 + given_up_after  # HB4: any octet counts
    assert not session.is_dead(1000.0 + given_up_after + 0.0005)


def test_who_agreed_on_nothing_owes_nothing_and_never_dies() -> None:
    session = agreed(0, 0)
    assert not session.owes_heart_beat(1e9)
    assert not session.is_dead(1e9)
    assert session.next_check() is None


@pytest.mark.parametrize("sends", [0, 1, 100, 333, 1000, 70_001])
@pytest.mark.parametrize("expects", [0, 1, 100, 333, 1000, 70_001])
@pytest.mark.parametrize("at", [0.0, 12345.678, 9e8 + 1 / 3])
def test_the_next_check_is_neither_late_nor_in_vain(sends: int, expects: int, at: float) -> None:
    """At the moment it names there is something to do, and a hundredth of a second before there is not."""
    session = agreed(sends, expects, at)
    moment = session.next_check()
    if not (sends or expects):
        assert moment is None
        return
    assert moment is not None
    assert session.owes_heart_beat(moment) or session.is_dead(moment)
    before = at + (moment - at) * 0.99
    assert not session.owes_heart_beat(before)
    assert not session.is_dead(before)


def test_the_next_check_moves_with_what_is_heard_and_said() -> None:
    session = agreed(1000, 1000, at=10.0)
    assert session.next_check() == pytest.approx(10.9)
    session.spoke = 11.0
    assert session.next_check() == pytest.approx(11.9)
    session.spoke = 15.0
    assert session.next_check() == pytest.approx(12.0)  # now the silent peer comes first
    session.heard = 20.0
    assert session.next_check() == pytest.approx(15.9)
