"""A client's STOMP conversation without a socket: bytes that came in, bytes to write.

Every verb returns the bytes that say it; `receive` takes what arrived and returns the frames in it. The
owner moves the bytes, on threads, asyncio or Twisted, and passes the time in (monotonic seconds)::

    write(link.connect(now))                            # -> CONNECT
    frames = link.receive(read(), now)                  # CONNECTED is taken here; `link.open` turns true
    write(link.subscribe("/queue/a", "1", "auto"))
    write(link.send({"destination": "/queue/b"}, body))
    write(link.beat(now))                               # a heart-beat, if one is due
    wait_until(link.next_check())

Knows STOMP through `broker.stomp` and nothing of calls, queues' names or JSON. Not locked: `receive` and
`beat` belong to whoever reads; the writing verbs read only what the handshake fixed, so any thread may
use them once the link is open.
"""

from __future__ import annotations

from broker.stomp import ClientSession, Frame, HandshakeError, Parser
from rpc.address import Address
from rpc.errors import BrokerRefused, ConnectionLost

HEART_BEAT = b"\n"
HEART_BEAT_SECONDS = 10.0  # a dead broker is noticed within twice that
CONNECT_TIMEOUT = 10.0  # seconds for TCP and CONNECT together


class Link:
    """One conversation, from CONNECT to DISCONNECT; a new connection needs a new one."""

    def __init__(self, address: Address, heart_beat: float = 0.0) -> None:
        """`heart_beat`: seconds between signs of life, offered and asked for; 0 for none."""
        milliseconds = round(heart_beat * 1000)
        self._address = address
        self._session = ClientSession((milliseconds, milliseconds))
        self._parser = Parser()
        self.version = "1.2"  # what encodes our frames; the handshake's frames are never escaped
        self.open = False  # True once the broker has answered CONNECTED
        #: A message can be given back for a while. STOMP 1.0 has no NACK; to ActiveMQ each one is a dead
        #: letter, and RabbitMQ hands it out again at once, and does not count.
        self.can_give_back = False

    def connect(self, now: float) -> bytes:
        """Return CONNECT."""
        address = self._address
        self._session.heard = self._session.spoke = now
        request = self._session.request(
            address.vhost or address.host, address.login, address.passcode
        )
        return request.encode(self.version)

    def receive(self, data: bytes, now: float) -> list[Frame]:
        """Take what arrived; return the MESSAGE and RECEIPT frames that it completes.

        Raises `BrokerRefused` with the broker's words for an ERROR before CONNECTED, `ConnectionLost` if that
        says `retry:true` (too many log in at once), and for bytes that are no STOMP. An ERROR on an open link is returned like any
        frame: whether it ends the link is its owner's choice (`refusal` makes an exception of it).
        """
        self._session.heard = now
        frames = self._parser.feed(data)
        if not self.open and frames:
            frames = self._shake_hands(frames.pop(0)) + frames
        if self._parser.error is not None:
            raise ConnectionLost(
                f"The broker's bytes are no STOMP: {self._parser.error}", sent=True
            )
        return frames

    def _shake_hands(self, answer: Frame) -> list[Frame]:
        try:
            self._session.accept(answer)
        except HandshakeError as error:
            passes = answer.headers.get("retry") == "true"
            kind = ConnectionLost if passes else BrokerRefused
            raise kind(_words(error.text, error.hint), sent=False) from None
        self.version = self._parser.version = self._session.version or "1.0"
        self.can_give_back = self.version != "1.0" and "hoofbeat" in answer.headers.get(
            "server", ""
        )
        self.open = True
        return self._parser.feed(b"")  # what came behind CONNECTED

    def send(self, headers: dict[str, str], body: bytes, *, plain: bool = False) -> bytes:
        """Return SEND. `plain`: no name or value needs an escape, so none is looked for."""
        return Frame("SEND", headers, body, plain).encode(self.version)

    def subscribe(
        self,
        destination: str,
        subscription: str,
        ack: str,
        *,
        prefetch: int | None = None,
        receipt: str | None = None,
    ) -> bytes:
        """Return SUBSCRIBE. `prefetch`: how many messages may be unacknowledged at once."""
        headers = {"id": subscription, "destination": destination, "ack": ack}
        if prefetch is not None:
            headers["activemq.prefetchSize"] = str(prefetch)
            headers["prefetch-count"] = str(prefetch)  # RabbitMQ's name for the same
        return self._command("SUBSCRIBE", headers, receipt)

    def ack(self, message: Frame, *, receipt: str | None = None) -> bytes:
        """Return the ACK of a MESSAGE."""
        if message.plain and receipt is None and self.version == "1.2":
            return b"ACK\nid:%b\n\n\0\n" % message.headers.get("ack", "").encode()
        named = self._named(message)
        if receipt is not None:
            named["receipt"] = receipt
        return Frame("ACK", named, b"", message.plain).encode(self.version)

    def nack(
        self,
        message: Frame,
        *,
        delay: float | None = None,
        reason: str = "",
        receipt: str | None = None,
    ) -> bytes:
        """Return the NACK of a MESSAGE: a dead letter for a `reason`, or to be tried again in `delay` seconds.

        A delay of 0 is for the queue to choose: its redelivery policy. STOMP 1.0 has no NACK: there a
        message can only be acknowledged.
        """
        if self.version == "1.0":
            return self.ack(message, receipt=receipt)
        named = self._named(message)
        if delay is None:
            named["requeue"] = "false"  # as RabbitMQ would not have it by itself
        else:
            named |= {"requeue": "true", "delay": str(round(delay * 1000))}
        if receipt is not None:
            named["receipt"] = receipt
        if reason:
            named["reason"] = reason
            return Frame("NACK", named).encode(self.version)
        return Frame("NACK", named, b"", message.plain).encode(self.version)

    def _named(self, message: Frame) -> dict[str, str]:
        """Name a MESSAGE by the header that the link's version wants."""
        headers = message.headers
        if self.version == "1.2":
            named = {"id": headers.get("ack", "")}
        else:
            named = {"message-id": headers.get("message-id", "")}
            if "subscription" in headers:
                named["subscription"] = headers["subscription"]
        return named

    def disconnect(self, receipt: str | None = None) -> bytes:
        """Return DISCONNECT; its receipt tells that all before it was processed."""
        return self._command("DISCONNECT", {}, receipt)

    def _command(self, command: str, headers: dict[str, str], receipt: str | None) -> bytes:
        if receipt is not None:
            headers["receipt"] = receipt
        return Frame(command, headers).encode(self.version)

    def wrote(self, now: float) -> None:
        """Note that bytes left at `now`: no heart-beat is due for a while."""
        self._session.spoke = now

    def beat(self, now: float) -> bytes:
        """Return a heart-beat if one is due, else nothing.

        Raises `ConnectionLost` if the broker was silent for longer than agreed (twice its interval).
        Call it after `receive` has been given all that arrived.
        """
        if self._session.is_dead(now):
            silent = now - self._session.heard
            raise ConnectionLost(f"The broker has been silent for {silent:.1f} s", sent=True)
        return HEART_BEAT if self._session.owes_heart_beat(now) else b""

    def next_check(self) -> float | None:
        """Return the moment at which `beat` may next have something to do, or None for never."""
        return self._session.next_check()


def refusal(error: Frame) -> BrokerRefused:
    """Return the exception that an ERROR frame on an open link amounts to."""
    text = error.headers.get("message", "ERROR")
    return BrokerRefused(_words(text, error.body.decode(errors="replace")), sent=True)


def _words(text: str, more: str) -> str:
    """Return the broker's words in one line; its body often begins with the header once more."""
    whole = more if more.lstrip().startswith(text) else f"{text}: {more}"
    return " ".join(whole.split()).removesuffix(":")
