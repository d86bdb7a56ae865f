"""Both ends of a STOMP link: version and heart-beat negotiation, which command is legal when.

A `Session` is what the two ends agreed on, and when each was last heard. It owns no clock: times are
monotonic seconds, passed in. `ServerSession` answers a CONNECT, `ClientSession` writes one and reads
the answer; both leave the same agreement behind.

Heart-beats (STOMP 1.2, "Heart-beating"; the header counts milliseconds, everything here seconds):

- what an end sends: the larger of what it can and what the other wants, never if either is 0;
- any octet counts as life, a heart-beat is a lone LF;
- an end is given up after twice the agreed interval, and never less than a second more than it: the
  grace of 1.0 that ActiveMQ gives is the complaint its users repeat.
"""

from __future__ import annotations

from broker.errors import HandshakeError, ProtocolError
from broker.stomp.frame import CLIENT_COMMANDS, SERVER_COMMANDS, VERSIONS, Frame

GRACE = 2.0  # times the agreed interval before a silent peer is given up
GRACE_LEAST = 1.0  # seconds of grace at least
EARLY = 0.9  # of the interval: a heart-beat is sent this early, so that it arrives in time


class Session:
    """What both ends agreed on, and how long ago each was heard."""

    __slots__ = ("expect_every", "heard", "send_every", "spoke", "version")

    def __init__(self) -> None:
        self.version: str | None = None  # None until the handshake is done
        self.send_every = 0.0  # seconds; 0: we owe no heart-beats
        self.expect_every = 0.0  # seconds; 0: we expect none
        self.heard = 0.0  # when an octet last came, monotonic seconds
        self.spoke = 0.0  # when an octet last left

    def agree(self, version: str, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        """Fix version and intervals; `(can send, wants)` of each end in milliseconds."""
        self.version = version
        self.send_every = max(ours[0], theirs[1]) / 1000 if ours[0] and theirs[1] else 0.0
        self.expect_every = max(ours[1], theirs[0]) / 1000 if ours[1] and theirs[0] else 0.0

    def owes_heart_beat(self, now: float) -> bool:
        """True when a LF must leave now."""
        return bool(self.send_every) and now >= self.spoke + self.send_every * EARLY

    def is_dead(self, now: float) -> bool:
        """True when the other end has been silent for longer than agreed, grace included."""
        return bool(self.expect_every) and now >= self._gives_up_at()

    def next_check(self) -> float | None:
        """The moment at which `owes_heart_beat` or `is_dead` may next turn true, or None for never."""
        moments = []
        if self.send_every:
            moments.append(self.spoke + self.send_every * EARLY)
        if self.expect_every:
            moments.append(self._gives_up_at())
        return min(moments, default=None)

    def _gives_up_at(self) -> float:
        return self.heard + max(self.expect_every * GRACE, self.expect_every + GRACE_LEAST)


class ServerSession(Session):
    """The server's end: answers the one CONNECT or STOMP frame a link begins with."""

    __slots__ = ("least_interval",)

    def __init__(self, least_interval: int = 100) -> None:
        """`least_interval`: heart-beats are neither sent nor expected more often (milliseconds)."""
        super().__init__()
        self.least_interval = least_interval

    def accept(self, frame: Frame) -> dict[str, str]:
        """Negotiate and return the headers that CONNECTED must carry: `version` and `heart-beat`.

        Raises `HandshakeError` for a frame that is no CONNECT, no common version, or bad heart-beats.
        """
        if frame.command not in ("CONNECT", "STOMP"):
            raise HandshakeError(
                f"Protocol error: unexpected frame before CONNECT or STOMP frame: {frame.command}",
                "The first frame on a link must be CONNECT or STOMP.",
            )
        version = choose_version(frame.headers.get("accept-version"))
        theirs = (0, 0)
        if version != "1.0":  # 1.0 knows no heart-beats
            theirs = read_heart_beat(frame.headers.get("heart-beat"))
        can, wants = theirs
        ours = (
            max(wants, self.least_interval) if wants else 0,
            max(can, self.least_interval) if can else 0,
        )
        self.agree(version, ours, theirs)
        return {"version": version, "heart-beat": f"{ours[0]},{ours[1]}"}


class ClientSession(Session):
    """The client's end: writes the CONNECT frame and reads what the server answers."""

    __slots__ = ("heart_beat",)

    def __init__(self, heart_beat: tuple[int, int] = (0, 0)) -> None:
        """`heart_beat`: what we can send and what we want to receive, in milliseconds (0: none)."""
        super().__init__()
        self.heart_beat = heart_beat

    def request(
        self,
        host: str,
        login: str | None = None,
        passcode: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Frame:
        """Return the CONNECT frame, offering every version we speak."""
        request = {
            "accept-version": ",".join(VERSIONS),
            "host": host,
            "heart-beat": f"{self.heart_beat[0]},{self.heart_beat[1]}",
        }
        if login is not None:
            request["login"] = login
        if passcode is not None:
            request["passcode"] = passcode
        return Frame("CONNECT", request | (headers or {}))

    def accept(self, frame: Frame) -> None:
        """Read the answer. Raises `HandshakeError` with the server's words if it is not CONNECTED."""
        if frame.command != "CONNECTED":
            raise HandshakeError(
                frame.headers.get("message", f"unexpected {frame.command} instead of CONNECTED"),
                frame.body.decode(errors="replace").strip(),
            )
        version = frame.headers.get("version", "1.0")
        if version not in VERSIONS:
            raise HandshakeError(f"The server chose version {version}, which was not offered")
        theirs = (0, 0)
        if version != "1.0":  # 1.0 knows no heart-beats
            theirs = read_heart_beat(frame.headers.get("heart-beat"))
        self.agree(version, self.heart_beat, theirs)


def choose_version(accept_version: str | None) -> str:
    """Return the highest version both ends speak; no header means 1.0 (STOMP 1.2, CONNECT).

    Raises `HandshakeError`, which names the versions we speak.
    """
    if accept_version is None:
        return "1.0"
    offered = {version.strip() for version in accept_version.split(",")}
    for version in reversed(VERSIONS):
        if version in offered:
            return version
    raise HandshakeError(
        f"Supported protocol versions are {' '.join(VERSIONS)}",
        headers={"version": ",".join(VERSIONS)},
    )


def read_heart_beat(header: str | None) -> tuple[int, int]:
    """Return `(can send, wants)` in milliseconds; no header means none.

    Raises `HandshakeError` in ActiveMQ's words for anything but two non-negative integers.
    """
    if header is None:
        return 0, 0
    parts = [part.strip() for part in header.split(",")]
    if len(parts) == 2 and all(
        part.isascii() and part.isdecimal() and len(part) <= 10 for part in parts
    ):
        return int(parts[0]), int(parts[1])
    raise HandshakeError(
        f"Invalid heart-beat header:{header}",
        "heart-beat:<can send>,<wants to receive>, two non-negative numbers of milliseconds.",
    )


def illegal(command: str) -> ProtocolError:
    """The fault of a command that the server's end does not take (any more), in ActiveMQ's words."""
    if command in ("CONNECT", "STOMP"):
        return ProtocolError(
            "Protocol error: duplicate CONNECT or STOMP frame", "A link is opened only once."
        )
    if command in SERVER_COMMANDS:
        return ProtocolError(
            "Protocol error: received a frame that is only expected when configured for"
            f" 'client' mode: {command}",
            "Only servers send this command.",
        )
    return ProtocolError(
        f"Unknown STOMP action: {command}",
        "Commands are case-sensitive: " + ", ".join(sorted(CLIENT_COMMANDS)) + ".",
    )
