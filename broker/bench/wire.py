"""The load generator's sockets: opened politely through the codec, then driven by whole batches.

A `Link` is opened, subscribed and closed with the sans-IO codec. Between the two it is a plain
non-blocking socket: what is to be sent in one turn of the `Loop` leaves in one `send`, and what arrives
is cut at the NULs and handed on as a list of raw frames, because parsing each would make the generator
the bottleneck. Bodies of this benchmark hold no NUL, so the cut is the end of a frame.

Nothing in here knows what is measured.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.bench.checks import MeasurementError
from broker.stomp import ClientSession, Frame, Parser, StompError

RECEIVE = 256 * 1024  # bytes of one recv
HANDSHAKE_PATIENCE = 20.0  # seconds for an answer to CONNECT, SUBSCRIBE or DISCONNECT

#: Gets the raw frames of a batch, without their NULs, and the same bytes in one piece.
Take = Callable[[list[bytes], bytes], None]


@dataclass(frozen=True)
class Address:
    """Where a target listens, what it is, and which processes do its work."""

    host: str
    port: int
    copies: bool = False  # True: the ceiling, which speaks no STOMP
    login: str | None = None
    passcode: str | None = None
    vhost: str = "/"
    pids: list[int] = field(default_factory=list)


class Link:
    """One connection to the broker, or to the ceiling."""

    def __init__(
        self, address: Address, name: str, peers: tuple[str, ...] = (), client_id: str = ""
    ) -> None:
        """Connect. `name` and `peers` are used by the ceiling: who gets what is sent here.

        `client_id`: who we are to a broker that keeps durable subscriptions; empty: nobody.
        Raises `MeasurementError` if the target refuses.
        """
        self.address = address
        self.take: Take = refuse
        self.version = "1.2"
        self._parser = Parser()
        self._receipts = 0
        self._out: list[bytes] = []  # to be sent at the end of the turn
        self._unsent = memoryview(b"")  # what the socket did not take
        self._partial: list[bytes] = []  # the beginning of a frame
        try:
            self.socket = socket.create_connection((address.host, address.port), HANDSHAKE_PATIENCE)
        except OSError as error:
            raise MeasurementError(
                f"{address.host}:{address.port}: {error.strerror or error}"
            ) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.copies:
            self.socket.sendall(" ".join((name, *peers)).encode() + b"\n")
            self.socket.recv(RECEIVE)
        else:
            self._connect({"client-id": client_id} if client_id else {})

    def _connect(self, headers: dict[str, str]) -> None:
        session = ClientSession()
        address = self.address
        request = session.request(address.vhost, address.login, address.passcode, headers)
        self.socket.sendall(request.encode("1.0"))
        try:
            session.accept(self.next_frame())
        except StompError as error:
            raise MeasurementError(f"CONNECT was refused: {error} {error.hint}") from error
        self.version = self._parser.version = session.version or "1.0"

    def next_frame(self) -> Frame:
        """Wait for the next frame, after which no other may come. Raises `MeasurementError`."""
        frames = self.next_frames()
        if len(frames) > 1:
            raise MeasurementError(f"{len(frames)} frames came, where one was due: {frames[:3]}")
        return frames[0]

    def next_frames(self) -> list[Frame]:
        """Wait for the next frame, or several, before the link is driven by a loop or after.

        Raises `MeasurementError` if none comes in time.
        """
        while True:
            try:
                data = self.socket.recv(RECEIVE)
            except TimeoutError:
                raise MeasurementError(f"no answer in {self.socket.gettimeout():.0f} s") from None
            except OSError as error:
                raise MeasurementError(f"the connection broke: {error.strerror}") from error
            if not data:
                raise MeasurementError("the broker closed the connection")
            frames = self._parser.feed(data)
            if self._parser.error:
                raise MeasurementError(f"the broker's bytes make no sense: {self._parser.error}")
            if frames:
                return frames

    def say(self, command: str, headers: dict[str, str]) -> None:
        """Send a frame at once, without waiting for anything."""
        if not self.address.copies:
            self.socket.sendall(Frame(command, headers).encode(self.version))

    def ask(self, command: str, headers: dict[str, str]) -> None:
        """Send a frame with a receipt and wait for it; nothing else may come meanwhile.

        Raises `MeasurementError`.
        """
        if self.address.copies:
            return
        self._receipts += 1
        receipt = f"{command.lower()}-{self._receipts}"
        self.say(command, headers | {"receipt": receipt})
        answer = self.next_frame()
        if answer.command != "RECEIPT" or answer.headers.get("receipt-id") != receipt:
            raise MeasurementError(f"{command} was answered with {words(answer)}")

    def subscribe(self, destination: str, ack: str = "auto", prefetch: int = 1000) -> None:
        """Subscribe and wait until the broker has done it. Raises `MeasurementError`."""
        self.ask("SUBSCRIBE", subscription(destination, ack, prefetch))

    def send(self, data: bytes) -> None:
        """Leave bytes for the end of the turn."""
        self._out.append(data)

    @property
    def idle(self) -> bool:
        """True when the socket has taken everything."""
        return not self._unsent and not self._out

    def flush(self) -> bool:
        """Send what was left in one piece; False if the socket did not take all of it."""
        if self._unsent:
            data = self._unsent
        elif self._out:
            data = memoryview(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out = []
        else:
            return True
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise MeasurementError(
                self._last_words(f"the connection broke: {error.strerror}")
            ) from error
        self._unsent = data[sent:]
        return not self._unsent and not self._out

    def receive(self) -> None:
        """Read once and hand on the frames that are whole. Raises `MeasurementError`."""
        try:
            data = self.socket.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            raise MeasurementError(f"the connection broke: {error.strerror}") from error
        if not data:
            raise MeasurementError("the broker closed the connection")
        end = data.rfind(b"\0") + 1
        if not end:
            self._partial.append(data)
            return
        whole, rest = data[:end], data[end:]
        if self._partial:
            whole = b"".join((*self._partial, whole))
        self._partial = [rest] if rest and rest != b"\n" else []
        frames = whole.split(b"\0")
        frames.pop()
        try:
            self.take(frames, whole)
        except MeasurementError:
            for frame in frames:
                if frame.lstrip().startswith(b"ERROR\n"):
                    raise MeasurementError(self._explain(frame + b"\0")) from None
            raise

    def _explain(self, data: bytes) -> str:
        parser = Parser()
        parser.version = self.version
        return "; ".join(words(frame) for frame in parser.feed(data))

    def _last_words(self, otherwise: str) -> str:
        """Return the ERROR a broker leaves behind when it closes, or `otherwise`."""
        with contextlib.suppress(OSError):
            return self._explain(self.socket.recv(RECEIVE)) or otherwise
        return otherwise

    def close(self) -> None:
        """Leave properly: everything sent was taken, and nothing more came. Raises `MeasurementError`."""
        with self.socket:
            self.socket.settimeout(HANDSHAKE_PATIENCE)
            self.ask("DISCONNECT", {})

    def abandon(self) -> None:
        """Leave without a word, after a failure."""
        self.socket.close()


class Loop:
    """Waits for the links' sockets; one turn reads them all, then writes them all once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._links: list[Link] = []
        self._blocked: set[Link] = set()  # whose socket did not take everything
        # The parent holds the other end of our input: when it is gone, we are not wanted any more.
        with contextlib.suppress(ValueError, OSError):
            self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)

    def add(self, link: Link) -> None:
        """Drive this link from now on."""
        link.socket.setblocking(False)
        self._links.append(link)
        self._selector.register(link.socket, selectors.EVENT_READ, link)

    def wait(self, timeout: float) -> bool:
        """Wait for sockets and read them; False if nothing happened in `timeout` seconds."""
        events = self._selector.select(timeout)
        for key, mask in events:
            link = key.data
            if link is None:
                raise SystemExit(1)
            if mask & selectors.EVENT_READ:
                link.receive()
        return bool(events)

    def flush(self) -> None:
        """Send what the turn left, one write a link."""
        for link in self._links:
            blocked = not link.flush()
            if blocked != (link in self._blocked):
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked else 0)
                self._selector.modify(link.socket, interest, link)
                (self._blocked.add if blocked else self._blocked.discard)(link)

    def close(self) -> None:
        """Take leave of every link: each must have been told everything. Raises `MeasurementError`."""
        links, self._links = self._links, []
        for link in links:
            self._selector.unregister(link.socket)
        for link in links:
            link.close()
        self._selector.close()

    def abandon(self) -> None:
        """Drop every link."""
        for link in self._links:
            link.abandon()
        self._selector.close()


def subscription(destination: str, ack: str = "auto", prefetch: int = 1000) -> dict[str, str]:
    """Return the headers of a SUBSCRIBE; the prefetch is named as ActiveMQ knows it."""
    return {
        "id": "1",
        "destination": destination,
        "ack": ack,
        "activemq.prefetchSize": str(prefetch),
    }


def words(frame: Frame) -> str:
    """Say what a frame is, for a failure's text."""
    text = frame.headers.get("message", "")
    return f"{frame.command} {text}".strip()


def refuse(frames: list[bytes], whole: bytes) -> None:
    """Take frames on a link that is to get none."""
    raise MeasurementError(f"{len(frames)} unexpected frames came: {whole[:200]!r}")
