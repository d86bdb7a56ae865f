"""Header values on their way from a writer of one version to a reader of another."""

from __future__ import annotations

import pytest

from broker.stomp import VERSIONS, Frame
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import ack, expect_error, put, subscribe, take

#: What a writer of each version puts on the wire, and what each reader finds on it.
WIRE = [
    # a raw backslash: 1.0 has no escapes, Windows paths survive
    ("1.0", rb"C:\temp", {"1.0": rb"C:\temp", "1.1": rb"C\c\\temp", "1.2": rb"C\c\\temp"}),
    ("1.0", rb"a\nb", {"1.0": rb"a\nb", "1.1": rb"a\\nb", "1.2": rb"a\\nb"}),
    # the escapes of 1.1 and 1.2
    ("1.1", rb"a\cb\\c\nd", {"1.0": rb"a:b\c\nd", "1.1": rb"a\cb\\c\nd", "1.2": rb"a\cb\\c\nd"}),
    ("1.2", rb"a\cb\\c\nd", {"1.0": rb"a:b\c\nd", "1.1": rb"a\cb\\c\nd", "1.2": rb"a\cb\\c\nd"}),
    # CR: escaped in 1.2 only, raw in 1.1, visible text in 1.0
    ("1.2", rb"a\rb", {"1.0": rb"a\rb", "1.1": b"a\rb", "1.2": rb"a\rb"}),
    ("1.1", b"a\rb", {"1.0": rb"a\rb", "1.1": b"a\rb", "1.2": rb"a\rb"}),
    ("1.1", rb"a\rb", {"1.0": rb"a\rb", "1.1": rb"a\\rb", "1.2": rb"a\\rb"}),
    # an undefined escape is taken literally (php-stomp never escapes)
    ("1.2", rb"C\ctemp\t\x", {"1.0": rb"C:temp\t\x", "1.2": rb"C\ctemp\\t\\x"}),
    ("1.1", rb"end\\", {"1.0": b"end\\", "1.1": rb"end\\", "1.2": rb"end\\"}),
    ("1.2", b"end\\", {"1.0": b"end\\", "1.1": rb"end\\", "1.2": rb"end\\"}),
    # a raw colon in a value is accepted, and escaped where that is possible
    ("1.1", b"a:b:c", {"1.0": b"a:b:c", "1.1": rb"a\cb\cc", "1.2": rb"a\cb\cc"}),
    ("1.2", b"http://x", {"1.0": b"http://x", "1.1": rb"http\c//x", "1.2": rb"http\c//x"}),
]


def raw_header(client: Client, name: bytes) -> bytes:
    """Return a header's value as it stood on the wire, in the last MESSAGE."""
    head = client.received[client.received.rindex(b"MESSAGE\n") :].split(b"\n\n")[0]
    [line] = [line for line in head.split(b"\n") if line.startswith(name + b":")]
    return line[len(name) + 1 :]


@pytest.mark.parametrize(("writer", "sent", "found"), WIRE)
def test_escapes_follow_the_reader(
    connect: Connect, queue: str, writer: str, sent: bytes, found: dict[str, bytes]
) -> None:
    """A value is written as the version of its reader demands, whatever the writer spoke."""
    sender = connect(writer)
    for reader, expected in found.items():
        client = connect(reader)
        subscribe(client, f"{queue}.{reader}")
        sender.write(
            b"SEND\ndestination:%b.%b\nkey:%b\n\n\0" % (queue.encode(), reader.encode(), sent)
        )
        client.expect("MESSAGE")
        assert raw_header(client, b"key") == expected


@pytest.mark.parametrize("writer", ["1.1", "1.2"])
def test_escapes_apply_to_names(connect: Connect, queue: str, writer: str) -> None:
    """Names are escaped as values are; a name never breaks a 1.0 line either."""
    sender = connect(writer)
    for reader in VERSIONS:
        client = connect(reader)
        subscribe(client, f"{queue}.{reader}")
        sender.write(
            b"SEND\ndestination:%b.%b\nna\\cm\\ne:x\n\n\0" % (queue.encode(), reader.encode())
        )
        client.expect("MESSAGE")
        assert rb"na\cm\ne:x" in client.received


@pytest.mark.parametrize("reader", VERSIONS)
@pytest.mark.parametrize("writer", ["1.1", "1.2"])
def test_a_value_never_becomes_a_line(
    connect: Connect, queue: str, writer: str, reader: str
) -> None:
    """Header injection: a line break in a value is no header of its own, nor the end of the headers."""
    client = connect(reader)
    subscribe(client, queue)
    evil = "x\nsubscription:forged\n\nforged body\r\n\r\n"
    connect(writer).send("SEND", b"true body", destination=queue, key=evil, **{"a\nb": "c"})
    message = client.expect("MESSAGE", subscription="s")
    assert message.body == b"true body"
    assert client.received.count(b"\nsubscription:") == 1
    if reader != "1.0":
        assert message.headers["key"] == evil
        assert message.headers["a\nb"] == "c"


@pytest.mark.parametrize("reader", VERSIONS)
def test_every_message_of_a_mixed_queue_is_right(connect: Connect, queue: str, reader: str) -> None:
    """Messages with and without escapes, from writers of all versions, wait in one queue."""
    for writer in VERSIONS:
        sender = connect(writer)
        put(sender, queue, b"a", key="plain")
        put(sender, queue, b"b", key="a:b")
        put(sender, queue, b"c", key="a\\b")
    client = connect(reader)
    subscribe(client, queue)
    for _ in VERSIONS:
        assert [m.headers["key"] for m in take(client, 3)] == ["plain", "a:b", "a\\b"]


def test_redelivered_messages_are_escaped_for_the_next_reader(connect: Connect, queue: str) -> None:
    """Given back by a reader of one version, a message is written anew for one of another."""
    put(connect("1.2"), queue, b"x", key="a:b\nc\\d")
    for reader, found in (
        ("1.2", "a:b\nc\\d"),
        ("1.0", "a:b\\nc\\d"),
        ("1.1", "a:b\nc\\d"),
        ("1.0", "a:b\\nc\\d"),
    ):
        client = connect(reader)
        subscribe(client, queue, ack="client")
        assert client.expect("MESSAGE").headers["key"] == found
        client.close()


def test_subscription_ids_come_back(connect: Connect, later_version: str, queue: str) -> None:
    """An id with colons, line breaks and backslashes is written with escapes, and reads the same."""
    client = connect(later_version)
    id = "a:b\\c\nd"
    subscribe(client, queue, id=id, ack="client-individual")
    client.send("SEND", b"x", destination=queue)
    message = client.expect("MESSAGE", subscription=id)
    assert ack(client, message).command == "RECEIPT"
    assert client.ask("UNSUBSCRIBE", id=id).command == "RECEIPT"


@pytest.mark.parametrize("name", ["receipt:1", "a\\b", "a\nb", "ünïcödé 🐎"])
def test_receipt_ids_come_back(connect: Connect, later_version: str, name: str) -> None:
    """A receipt id with anything in it is echoed so that it reads the same, in RECEIPT and ERROR."""
    client = connect(later_version)
    client.send("BEGIN", transaction=name, receipt=name)
    client.expect("RECEIPT", receipt_id=name)
    client.send("BEGIN", transaction=name, receipt=name)
    error = client.expect("ERROR", receipt_id=name)
    expect_error(error, "The transaction was already started: ")
    client.send("ABORT", transaction=name, receipt=name)
    client.expect("RECEIPT", receipt_id=name)


def test_ids_in_1_0_are_taken_as_they_stand(connect: Connect, queue: str) -> None:
    """1.0 has no escapes in either direction: a backslash is a backslash, a colon a colon."""
    client = connect("1.0")
    client.write(b"SUBSCRIBE\ndestination:%b\nid:a\\cb:c\nreceipt:r\\n:1\n\n\0" % queue.encode())
    client.expect("RECEIPT")
    assert b"receipt-id:r\\n:1\n" in client.received
    client.write(b"SEND\ndestination:%b\n\n\0" % queue.encode())
    client.expect("MESSAGE")
    assert b"subscription:a\\cb:c\n" in client.received


def test_destinations_with_colons(connect: Connect, queue: str) -> None:
    """A destination is the same whoever names it, with escapes or without."""
    old, new = connect("1.0"), connect("1.2")
    for client in (old, new):
        subscribe(client, f"{queue}:{client.version}\\x")
    new.send("SEND", b"to old", destination=f"{queue}:1.0\\x")
    old.send("SEND", b"to new", destination=f"{queue}:1.2\\x")
    assert old.expect("MESSAGE", destination=f"{queue}:1.0\\x").body == b"to old"
    assert new.expect("MESSAGE", destination=f"{queue}:1.2\\x").body == b"to new"


def test_what_grows_by_escaping_is_delivered(connect: Connect, queue: str) -> None:
    """Headers that were short enough when they came reach an older reader, who hurts nobody else."""
    writer, reader = connect("1.0"), connect("1.0")
    subscribe(reader, queue)
    long = ":" * 40_000  # kept escaped, it is longer than a header line may be
    put(writer, queue, b"1", long=long)
    put(writer, queue, b"2")
    assert reader.expect("MESSAGE").headers["long"] == long
    assert reader.expect("MESSAGE").body == b"2"


def test_error_texts_are_escaped(connect: Connect, later_version: str) -> None:
    """What a client wrote and an ERROR repeats cannot break the ERROR."""
    client = connect(later_version)
    client.send("COMMIT", transaction="t\nmessage:forged\n\n")
    error = client.frame()
    assert error.headers["message"] == "Invalid transaction id: t\nmessage:forged\n\n"


def test_a_reader_that_never_unescapes_can_still_acknowledge(connect: Connect, queue: str) -> None:
    """php-stomp in 1.2 echoes headers as they stood on the wire; they mean the same coming back."""
    put(connect("1.2"), queue, b"x", path="C:\\temp", **{"a:b": "c"})
    client = connect("1.2")
    subscribe(client, queue, id="s:1", ack="client")
    client.expect("MESSAGE")
    head, _, _ = client.received[client.received.rindex(b"MESSAGE\n") :].partition(b"\n\n")
    lines = [line for line in head.split(b"\n")[1:] if not line.startswith(b"content-length")]
    identity = client.received[client.received.rindex(b"\nack:") + 5 :].split(b"\n")[0]
    client.write(b"ACK\n%b\nid:%b\nreceipt:r\n\n\0" % (b"\n".join(lines), identity))
    client.expect("RECEIPT", receipt_id="r")


def test_frame_of_the_harness_is_what_was_meant() -> None:
    """The clients of these stories escape as the specification has it."""
    frame = Frame("SEND", {"k": "a:b\n\\"})
    assert frame.encode("1.2") == b"SEND\nk:a\\cb\\n\\\\\n\n\0\n"
    assert frame.encode("1.0") == b"SEND\nk:a:b\\n\\\n\n\0\n"
