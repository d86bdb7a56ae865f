"""What the broker reads as a frame, through the socket; the codec's own tests have every split."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import expect_error, is_served, put, subscribe, take
from tests.stomp.malformed import HANDSHAKES, MALFORMED, MISPLACED, STRICT, Malformed


def names(table: list[Malformed]) -> list[str]:
    return [f"{case.version} {case.name}".strip() for case in table]


@pytest.fixture(scope="module")
def bystander(server: BrokerProcess) -> Iterator[Client]:
    """Return a client that must stay served whatever the others do."""
    with server.connect() as client:
        yield client


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker that takes no undefined escapes and no header without a colon."""
    directory = tmp_path_factory.mktemp("strict")
    process = BrokerProcess("memory:", directory, {"dialect": "strict"})
    yield process
    process.kill()


def expect_refused(client: Client, case: Malformed) -> None:
    """Send a case's bytes; it gets its ERROR, in one piece, and the link ends."""
    client.write(case.data)
    expect_error(client.frame(), case.error)
    client.expect_closed()


@pytest.mark.parametrize("case", HANDSHAKES, ids=names(HANDSHAKES))
def test_bad_first_frames(connect: Connect, bystander: Client, case: Malformed) -> None:
    """Each gets an ERROR that names its fault, and the link is closed; others stay served."""
    expect_refused(connect(None), case)
    assert is_served(bystander)


@pytest.mark.parametrize("case", MALFORMED + MISPLACED, ids=names(MALFORMED + MISPLACED))
def test_malformed_frames(connect: Connect, bystander: Client, case: Malformed) -> None:
    """Each gets an ERROR that names its fault, and the link is closed; others stay served."""
    expect_refused(connect(case.version), case)
    assert is_served(bystander)


@pytest.mark.parametrize("case", STRICT, ids=names(STRICT))
def test_strict_about_escapes(connect: Connect, strict: BrokerProcess, case: Malformed) -> None:
    """Where an operator asks for it, undefined escapes are refused as the specification has it."""
    expect_refused(connect(case.version, to=strict), case)


@pytest.mark.parametrize("case", STRICT, ids=names(STRICT))
def test_lenient_by_default(connect: Connect, case: Malformed) -> None:
    """By default the same frames are read (and lack only a destination)."""
    client = connect(case.version)
    client.write(case.data)
    expect_error(client.frame(), "SEND received without a Destination specified!")
    assert is_served(client)


def test_frames_before_the_malformed_one_count(connect: Connect, version: str, queue: str) -> None:
    """What was right before the fault is done and answered, then comes the ERROR."""
    client = connect(version)
    client.write(
        b"SEND\ndestination:%b\nreceipt:1\n\ngood\0\nSEND\ncontent-length:-1\n\n\0"
        b"SEND\ndestination:%b\n\ntoo late\0" % (queue.encode(), queue.encode())
    )
    client.expect("RECEIPT", receipt_id="1")
    expect_error(client.frame(), "content-length may not be negative")
    client.expect_closed()
    reader = connect(version)
    subscribe(reader, queue)
    assert take(reader, 1)[0].body == b"good"
    assert reader.silent()


def test_any_number_of_line_ends_between_frames(connect: Connect, version: str, queue: str) -> None:
    """LFs between frames are heart-beats; CR LF and stray NULs are tolerated."""
    client = connect(version)
    gaps = [b"\n", b"\n" * 500, b"\0\n\0"] + ([] if version == "1.1" else [b"\r\n\r\n"])
    for gap in gaps:
        client.write(gap + b"SEND\ndestination:%b\nreceipt:%d\n\n\0" % (queue.encode(), len(gap)))
        client.expect("RECEIPT", receipt_id=str(len(gap)))


def test_cr_lf(connect: Connect, queue: str) -> None:
    """In 1.2 a line may end in CR LF, mixed with LF, and the CR belongs to no value."""
    client = connect("1.2")
    subscribe(client, queue)
    client.write(b"SEND\r\ndestination:%b\nkey:value\r\n\nbo\r\ndy\0\r\n" % queue.encode())
    message = client.expect("MESSAGE", key="value")
    assert message.body == b"bo\r\ndy"


def test_cr_belongs_to_the_value_in_1_1(connect: Connect, queue: str) -> None:
    """In 1.1 a CR before the LF is part of the line, and 1.1 readers get it back raw."""
    client = connect("1.1")
    subscribe(client, queue)
    client.write(b"SEND\ndestination:%b\nkey:value\r\n\n\0" % queue.encode())
    assert client.expect("MESSAGE").headers["key"] == "value\r"


def test_every_split(connect: Connect, version: str, queue: str) -> None:
    """A frame may be cut anywhere."""
    client = connect(version)
    subscribe(client, queue)
    data = b"SEND\ndestination:%b\nname:\xc3\xa4\ncontent-length:3\n\na\0b\0\n" % queue.encode()
    for cut in range(1, len(data), 3):
        client.write(data[:cut])
        assert is_served_elsewhere(connect)
        client.write(data[cut:])
        message = client.expect("MESSAGE", name="ä")
        assert message.body == b"a\0b"


def is_served_elsewhere(connect: Connect) -> bool:
    """Make a round trip on a link of its own: what was written before has been read by now."""
    with connect("1.2") as other:
        return is_served(other)


def test_many_frames_in_one_packet(connect: Connect, version: str, queue: str) -> None:
    """Hundreds of frames in one write are taken in order."""
    client = connect(version)
    subscribe(client, queue)
    client.write(
        b"".join(b"SEND\ndestination:%b\n\n%d\0" % (queue.encode(), n) for n in range(500))
    )
    assert [int(frame.body) for frame in take(client, 500)] == list(range(500))


def test_body_with_nul(connect: Connect, version: str, queue: str) -> None:
    """With content-length a body may hold NULs, LFs and anything that looks like a frame."""
    body = b"\0\n\0SEND\ndestination:/queue/x\n\n\0\xff\xfe"
    client = connect(version)
    subscribe(client, queue)
    client.send("SEND", body, destination=queue)
    message = client.expect("MESSAGE", content_length=str(len(body)))
    assert message.body == body


def test_body_without_content_length_ends_at_nul(
    connect: Connect, version: str, queue: str
) -> None:
    """Without content-length the body ends at the first NUL; the MESSAGE says its length."""
    client = connect(version)
    subscribe(client, queue)
    client.write(b"SEND\ndestination:%b\n\nhello\n\0\n" % queue.encode())
    assert client.expect("MESSAGE", content_length="6").body == b"hello\n"


@pytest.mark.parametrize("length", [b"", b"content-length:0\n"])
def test_empty_body(connect: Connect, version: str, queue: str, length: bytes) -> None:
    """An empty body is delivered as one, with content-length:0 (without it PHP reads null)."""
    client = connect(version)
    subscribe(client, queue)
    client.write(b"SEND\ndestination:%b\n%b\n\0" % (queue.encode(), length))
    assert client.expect("MESSAGE", content_length="0").body == b""


def test_content_length_on_every_frame(connect: Connect, version: str, queue: str) -> None:
    """Ruby puts content-length:0 and content-type on every frame, CONNECT and ACK included."""
    extra = {"content_length": "0", "content_type": "text/plain; charset=UTF-8"}
    client = connect(version, **extra)
    subscribe(client, queue, ack="client", **extra)
    client.send("SEND", destination=queue, **extra)
    message = client.expect("MESSAGE", content_type="text/plain; charset=UTF-8")
    named = {"message-id": message.headers["message-id"], "subscription": "s"}
    if version == "1.2":
        named = {"id": message.headers["ack"]}
    assert client.ask("ACK", **named, **extra).command == "RECEIPT"
    for command in ("BEGIN", "COMMIT"):
        assert client.ask(command, transaction="t", **extra).command == "RECEIPT"
    assert client.ask("UNSUBSCRIBE", id="s", **extra).command == "RECEIPT"
    assert client.ask("DISCONNECT", **extra).command == "RECEIPT"


def test_body_on_frames_that_have_none(connect: Connect, version: str, queue: str) -> None:
    """A body on SUBSCRIBE or BEGIN is not looked at, as in ActiveMQ."""
    client = connect(version)
    assert client.ask("SUBSCRIBE", b"body", destination=queue, id="1").command == "RECEIPT"
    assert client.ask("BEGIN", b"body", transaction="t").command == "RECEIPT"


def test_commands_and_names_are_case_sensitive(connect: Connect, version: str, queue: str) -> None:
    """`Destination` is somebody's own header, not the destination."""
    client = connect(version)
    expect_error(client.ask("SEND", Destination=queue), "SEND received without a Destination")
    subscribe(client, queue)
    client.send("SEND", destination=queue, Destination="Berlin")
    client.expect("MESSAGE", destination=queue, Destination="Berlin")


def test_utf_8(connect: Connect, version: str, queue: str) -> None:
    """Names and values are UTF-8, up to four bytes a character; bodies are bytes."""
    client = connect(version)
    client.ask("SUBSCRIBE", destination=f"{queue}.größe🦄", id="日本")
    client.send("SEND", "🐎".encode(), destination=f"{queue}.größe🦄", **{"naïve🐎": "päng🎉"})
    message = client.expect("MESSAGE", **{"naïve🐎": "päng🎉"})
    assert message.headers["subscription"] == "日本"
    assert message.headers["destination"] == f"{queue}.größe🦄"
    assert message.body.decode() == "🐎"


def test_first_of_repeated_headers_wins(connect: Connect, version: str, queue: str) -> None:
    """Later occurrences are ignored; the reader sees one."""
    client = connect(version)
    subscribe(client, queue)
    client.received = b""
    client.write(
        b"SEND\ndestination:%b\nfoo:1\nfoo:2\ndestination:/queue/other\n\n\0" % queue.encode()
    )
    client.expect("MESSAGE", foo="1")
    assert client.received.count(b"\nfoo:") == 1
    assert client.received.count(b"\ndestination:") == 1


def test_empty_values(connect: Connect, version: str, queue: str) -> None:
    """A header without a value arrives as one without a value."""
    client = connect(version)
    subscribe(client, queue)
    client.write(b"SEND\ndestination:%b\nfoo:\n\n\0" % queue.encode())
    client.expect("MESSAGE", foo="")


def test_header_without_a_colon(connect: Connect, version: str, queue: str) -> None:
    """A line without a colon is a header without a value, as ActiveMQ reads it."""
    client = connect(version)
    client.write(
        b"SUBSCRIBE\ndestination:%b\nid:1\nactivemq.prefetchSize=1\nreceipt:r\n\n\0"
        % queue.encode()
    )
    client.expect("RECEIPT", receipt_id="r")


def test_blanks_belong_to_the_value(connect: Connect, later_version: str, queue: str) -> None:
    """From 1.1 on nothing is trimmed or padded, neither names nor values."""
    client = connect(later_version)
    subscribe(client, queue)
    client.received = b""
    client.write(b"SEND\ndestination:%b\nfoo: bar \n baz :\t\n\n\0" % queue.encode())
    message = client.expect("MESSAGE")
    assert message.headers["foo"] == " bar "
    assert message.headers[" baz "] == "\t"
    assert b"\nfoo: bar \n baz :\t\n" in client.received


def test_blanks_are_trimmed_in_1_0(connect: Connect, queue: str) -> None:
    """In 1.0 `receipt: 1` means `1`, and so on for every header."""
    client = connect("1.0")
    client.write(b"SUBSCRIBE\ndestination: %b \nid: 1\nreceipt: r \n\n\0" % queue.encode())
    client.expect("RECEIPT", receipt_id="r")
    client.write(b"SEND\ndestination:  %b\nfoo: bar\t\n\n\0" % queue.encode())
    client.expect("MESSAGE", destination=queue, subscription="1", foo="bar")


def test_server_headers_come_first_without_a_blank(
    connect: Connect, version: str, queue: str
) -> None:
    """Naive clients read `name:value` up to the first colon and stop at the first of a name."""
    client = connect(version)
    subscribe(client, queue, ack="client")
    client.received = b""
    client.send("SEND", b"x", destination=queue, color="red", size="1")
    client.expect("MESSAGE")
    lines = client.received.split(b"\n\n")[0].decode().split("\n")
    found = [line.split(":")[0] for line in lines[1:]]
    ours = ["subscription", "destination", "ack", "message-id", "timestamp"]
    if version != "1.2":
        ours.remove("ack")
    assert found == [*ours, "color", "size", "content-length"]
    assert not any(line.partition(":")[2].startswith(" ") for line in lines)
    assert "content-length:1" in lines


def test_large_headers_and_bodies(connect: Connect, version: str, queue: str) -> None:
    """What the limits allow passes: a header of 60 KiB, 900 headers, a body of 3 MB."""
    put(connect(version), queue, b"", long="x" * 60_000)
    put(connect(version), queue, b"", **{f"h{n}": str(n) for n in range(900)})
    put(connect(version), queue, b"y" * 3_000_000)
    client = connect(version)
    subscribe(client, queue)
    assert client.expect("MESSAGE").headers["long"] == "x" * 60_000
    assert client.expect("MESSAGE").headers["h899"] == "899"
    assert client.expect("MESSAGE").body == b"y" * 3_000_000


def test_limits_can_be_set(start_broker: StartBroker, connect: Connect) -> None:
    """An operator chooses how large frames may be; who passes a limit is told which, and shut out."""
    small = start_broker(
        "memory:", max_body=100, max_headers=5, max_header_line=50, max_connect_frame=200
    )
    cases = [
        (b"SEND\ndestination:/queue/a\n\n" + b"x" * 101 + b"\0", "maximum data length"),
        (b"SEND\ndestination:/queue/a\n\n" + b"x" * 300, "maximum data length"),
        (b"SEND\ndestination:/queue/a\ncontent-length:101\n\n", "maximum data length"),
        (b"SEND\n" + b"a:b\n" * 6 + b"\n\0", "maximum number of headers"),
        (b"SEND\na:" + b"b" * 50 + b"\n\n\0", "maximum header length"),
    ]
    for data, error in cases:
        client = connect("1.2", to=small)
        client.write(data)
        expect_error(client.frame(), error)
        client.expect_closed()
    stranger = connect(None, to=small)
    stranger.write(b"CONNECT\nlogin:" + b"x" * 200 + b"\n\n\0")
    expect_error(stranger.frame(), "maximum header length")
    stranger.expect_closed()
    client = connect("1.2", to=small)
    subscribe(client, "/queue/a")
    client.send("SEND", b"x" * 100, destination="/queue/a")
    assert client.expect("MESSAGE").body == b"x" * 100
