"""A link on a socket, against a broker that says what the test has written down."""

from time import monotonic

import pytest

from rpc.address import parse_address
from rpc.blocking.wire import Wire
from rpc.errors import BrokerRefused, ConnectionLost
from tests.processes import PATIENCE
from tests.rpc.canned import BEATING, CannedBroker


def dial(broker: CannedBroker, heart_beat: float = 0.0) -> Wire:
    return Wire(parse_address(broker.url), heart_beat=heart_beat, timeout=PATIENCE)


def pump_for_ever(wire: Wire) -> None:
    while True:
        wire.pump(monotonic() + PATIENCE)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", ConnectionLost, "closed by the broker"),
        (b"CONNECTED\nver", ConnectionLost, "closed by the broker"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", BrokerRefused, "unexpected HTTP"),
        (b"CONNECTED\nversion:9\n\n\0", BrokerRefused, "version 9"),
        (b"ERROR\nmessage:Who are you?\n\n\0", BrokerRefused, r"^Who are you\?$"),
    ],
)
def test_a_handshake_that_fails_has_sent_nothing(
    answer: bytes, kind: type[ConnectionLost], words: str
) -> None:
    with CannedBroker(answer) as broker, pytest.raises(kind, match=words) as raised:
        dial(broker)
    assert not raised.value.sent


def test_pumping_keeps_the_heart_beats_and_notices_silence() -> None:
    with CannedBroker(BEATING, hang_up=False) as broker:
        wire = dial(broker, heart_beat=0.2)
        with pytest.raises(ConnectionLost, match="silent"):
            pump_for_ever(wire)
        wire.close()
    assert broker.received.count(b"\n", broker.received.index(b"\0") + 2) >= 3
