"""One client's link, from its first byte to its last: handshake, liveness, pressure, and the ERROR door.

    bytes ─▶ Parser ─▶ CONNECT: `_connect`, once ─▶ everything else: a verb of `Conversation`
    answers and messages ─▶ Outbox ─▶ `flush` at the end of the turn ─▶ Transport

This is the one door for a client's faults: `StompError` is caught here and becomes an ERROR frame, after
which the link closes if what follows could not be trusted. Our own faults are not caught here.

No Twisted, no socket, no clock: see `Transport` and `Turn.now`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Protocol

from broker.answers import error_frame
from broker.arriving import LARGE, Arriving
from broker.client import ID_BYTES, Client
from broker.conversation import Conversation
from broker.core.handout import Handout, Unfinished
from broker.core.lane import Read
from broker.core.queue import Blocked
from broker.dialect import DIALECTS, Dialect
from broker.errors import HandshakeError, ProtocolError, StompError
from broker.options import Options
from broker.outbox import Outbox
from broker.person import Person, another_broker
from broker.reception import Claim, Host, Open, Reception
from broker.stomp.frame import Frame
from broker.stomp.parser import Limits, Parser
from broker.stomp.session import ServerSession, Session, illegal
from broker.talk import Talk, Verb, Visitors

#: Seconds: the agenda keeps a link until its next look, and heart-beats can be months.
LOOK_EVERY = 60.0
ADDED, ADDED_HEADERS = 4096, 16  # bytes and headers that a message gets on its way through brokers
FEW = 4  # frames that are obeyed without a look at the clock
MOST = 64  # frames between two looks
ONE_GO = 0.01  # seconds for the frames of a packet, before others get their turn
CONNECT_HEADERS = 100  # of CONNECT: many times those that mean something

PEER_NAME = "hoofbeat-peer"  # in CONNECT: another broker has come, of this name


class ConnectionLog:
    """What the operator hears of one client: nothing, unless `broker.logs.clients` takes its place."""

    __slots__ = ()

    def came(self, login: str) -> None:
        """It was let in."""

    def failed(self, error: StompError, closes: bool, frame: Frame | None = None) -> None:
        """It made a mistake, with a frame if it was one, which `closes` the connection or not."""

    def went(self) -> None:
        """It is gone."""


SILENT = ConnectionLog()


class Transport(Protocol):
    """What a connection needs of a socket."""

    def write(self, data: bytes) -> None:
        """Send; tell the connection's `unsent` what could not leave at once, and when it did."""

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Send what was written, then hang up."""

    def abort(self) -> None:
        """Hang up now."""


class Connection:
    """A client of the broker."""

    def __init__(
        self,
        host: Host,
        session_id: str,
        transport: Transport,
        dialect: Dialect = DIALECTS["activemq"],
        reception: Reception | None = None,
        log: ConnectionLog = SILENT,
        let_in: Callable[[], None] | None = None,
        arriving: Arriving | None = None,
    ) -> None:
        """`host` is where it is until it is let in, perhaps to another one; without `reception` everybody is, here.

        `let_in` is called when that happens. `arriving` knows the unfinished frames of all connections.
        `dialect` is that of the listener, with what the operator wants otherwise.
        """
        options, turn = host.options, host.turn
        self.transport = transport
        self.closing = False  # hears no more, and says only what was promised
        self._server = ServerSession(options.heart_beat_least)
        self.session: Session = self._server
        self.session.heard = self.session.spoke = turn.now
        self._host = host
        self._broker, self._turn, self._options = host.broker, turn, options
        self._dialect = dialect
        self._reception = reception or Open(host)
        self._let_in = let_in
        self._arriving = arriving
        self._kept = 0  # bytes of an unfinished frame, as it knows them
        # The same, at the last look whether a large frame grows; 0: no look is due.
        self._looked_at = 0
        self._log = log
        self._session_id = session_id
        self._parser = Parser(
            before_login(options),
            strict_escapes=dialect.undefined_escapes == "error",
            strict_lines=dialect.colon_required,
        )
        self._outbox = Outbox(lambda: self._turn.dirty.append(self))
        self.say = self._outbox.say  # adds to what leaves at the end of the turn
        self._conversation: Talk | None = None  # before CONNECT
        self._asking = False  # the reception has not answered yet
        self._early: list[bytes] | None = None  # what has come while it takes its time
        self._hung_up = False  # and that nothing more will
        self._lost = False  # nor is anything heard
        self._held: list[Frame] | None = None  # they wait, and nothing is read
        self._handout: Handout | None = None  # what they wait for, if it is this
        self._blocked = False  # too much of what we wrote is unread: no more messages
        self._stalled = False  # far too much: nothing is read either
        self._pauses = 0  # reasons not to read from the client just now
        if options.connect_timeout:
            host.agenda.add(turn.now + options.connect_timeout, self._check_connected)

    # What the transport tells us and asks.

    @property
    def unfinished(self) -> bool:
        """True while a frame has begun and not ended: its client may be waiting for TCP to confirm."""
        return self._parser.unfinished

    def data(self, data: bytes) -> None:
        """Bytes from the client."""
        self.session.heard = self._turn.now
        parser = self._parser
        if self._early is not None:
            self._early.append(data)
            return
        frames = parser.feed(data)
        if parser.kept != self._kept:
            self._keep(parser.kept)
        if self._conversation is None and frames:
            self._connect(frames.pop())  # the parser stops here: how the rest reads is decided now
            if self._asking:
                return
            frames = parser.feed(b"")
        if self._held is not None:  # there was more on its way
            self._held += frames
            return
        if frames and self._conversation is not None:
            if len(frames) <= FEW:
                self._obey(self._conversation.verbs, frames)
            else:
                self._obey_in_time(self._conversation.verbs, frames)
        if parser.error is not None and not self.closing and self._held is None:
            self._error(parser.error)
        self._turn.check_pressure(self)

    def _keep(self, size: int) -> None:
        """So many bytes of an unfinished frame are here; if it is large it must go on growing."""
        before, self._kept = self._kept, size
        if self._arriving is None:
            return
        self._arriving.keep(self, size, before)
        if size < before:
            self._looked_at = min(self._looked_at, 1)  # another frame: it begins anew
        timeout = self._options.frame_timeout
        if size > LARGE and not self._looked_at and timeout:
            self._looked_at = size
            self._host.agenda.add(self._turn.now + timeout, self._check_growing)

    def _obey(self, verbs: Mapping[str, Verb], frames: list[Frame]) -> None:
        """Do what frames say, one after the other."""
        for frame in frames:
            verb = verbs.get(frame.command)
            try:
                if verb is None:
                    raise illegal(frame.command)
                verb(frame)
            except StompError as error:
                self._error(error, frame)
            except Blocked as blocked:
                self._hold(frames[place_of(frame, frames) :])
                self._broker.wait_for_room(blocked.queue, self._take_up)
                return
            except Unfinished as unfinished:
                self._hold(frames[place_of(frame, frames) + 1 :])
                self._handout = unfinished.handout
                self._handout.then(self._take_up)
                return
            if self.closing:
                return

    def _obey_in_time(self, verbs: Mapping[str, Verb], frames: list[Frame]) -> None:
        """Do what many frames say, but if it takes long the rest in another turn, so that others get theirs.

        Most frames take microseconds; some make what is there meet many others, and a packet can hold
        thousands. The clock is looked at after a few frames, then twice as many: seldom when they are quick.
        """
        elapsed = self._broker.outside.elapsed
        ends = elapsed() + ONE_GO
        start, size = 0, FEW
        while True:
            self._obey(verbs, frames[start : start + size])
            start += size
            size = min(2 * size, MOST)
            if start >= len(frames) or self.closing:
                return
            if self._held is not None:
                self._held += frames[start:]
                return
            if elapsed() >= ends:
                self._hold(frames[start:])
                self._broker.again[self] = None
                return

    def _hold(self, frames: list[Frame]) -> None:
        """Obey these later, and read nothing meanwhile."""
        self._held = frames
        self.pause_reading()

    def _take_up(self) -> None:
        """Obey what was held: a queue takes messages again, subscribers have theirs, or others had their turn."""
        if self._conversation is None or self._held is None:
            return
        frames, self._held, self._handout = self._held, None, None
        self.resume_reading()
        self._obey_in_time(self._conversation.verbs, frames)
        self.data(b"")

    def go_on(self, read: Read) -> None:
        """Others had their turn."""
        self._take_up()

    def _catch_up(self) -> None:
        """The client has hung up: obey at once what would have waited for others, or for subscribers."""
        again, behind = self._broker.again, self._handout
        while self in again or self._handout is not None:
            again.pop(self, None)
            behind = self._handout or behind  # what follows is handed out behind what went before
            with behind or nullcontext():
                self._take_up()

    def end_of_input(self, died: bool = True) -> None:
        """The client will send no more: finish what it asked for, then hang up.

        It `died`, for it did not say DISCONNECT, unless it is we who end it.
        """
        if self._asking and died:  # it is answered first
            self._hung_up = True
            return
        self._catch_up()
        if not self.closing:
            self._end(b"", died)

    def lost(self) -> None:
        """The link is gone: nothing is said any more."""
        if self._asking and not self.closing:
            self._lost = True  # what it has asked for is done first, if it is let in
            return
        self._catch_up()
        self._leave(died=True)
        self._log.went()
        # Connection, conversation and outbox know each other: without this they would stay until the
        # garbage collector looks, which it does seldom.
        self._conversation = None
        self._outbox.wake = _nobody_listens

    def unsent(self, size: int) -> None:
        """So many bytes of what we wrote has the client not taken yet.

        At `unsent_bytes` it is handed no more messages; at `stalled_bytes`, which only a client reaches
        that asks without reading the answers, it is not read from either.
        """
        blocked = size > self._options.unsent_bytes
        if blocked != self._blocked:
            self._blocked = blocked
            if self._conversation is not None:
                self._conversation.pause(blocked)
        stalled = size > self._options.stalled_bytes
        if stalled != self._stalled:
            self._stalled = stalled
            if stalled:
                self.pause_reading()
            else:
                self.resume_reading()

    def dismiss(self, error: StompError) -> None:
        """End the link with an ERROR, because somebody else wants it."""
        if not self.closing:
            self._end(error_frame(error, None, self.session.version or "1.0"))

    def turn_away(self, error: StompError, is_polite: bool) -> None:
        """End the link with an ERROR: at once, or so that the client surely hears it (`is_polite`)."""
        if not self.closing:
            self.say(error_frame(error, None, self.session.version or "1.0"))
            self._leave()
            self.flush()
            if is_polite:
                self.transport.close()
                return
        self.transport.abort()

    def pause_reading(self) -> None:
        """Take nothing from the client for now. Several may ask; all must `resume_reading`."""
        self._pauses += 1
        if self._pauses == 1:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """One of those who paused goes on."""
        self._pauses -= 1
        if not self._pauses:
            self.session.heard = self._turn.now
            self._looked_at = min(self._looked_at, 1)  # a large frame could not grow meanwhile
            self.transport.resume_reading()

    # What the turn asks for.

    def flush(self) -> None:
        """Write everything that was said."""
        if self._outbox.pieces:
            self.session.spoke = self._turn.now
            self._outbox.empty_into(self.transport.write)

    def close(self) -> None:
        """Say what is left, then hang up."""
        self._leave()
        self.flush()
        self.transport.close()

    # What the agenda asks for.

    def _check_connected(self, now: float) -> None:
        """The time for CONNECT is over, unless it has come and it is we who take our time."""
        if self._conversation is None and not (self.closing or self._asking):
            self._give_up("It was not let in in time")

    def _check_growing(self, now: float) -> float | None:
        """End the link if a large frame has not grown enough since the last look; return when to look again."""
        if self.closing or self._kept <= LARGE:
            self._looked_at = 0
            return None
        timeout = self._options.frame_timeout
        if not self._pauses and self._kept < self._looked_at + LARGE:
            self._error(
                ProtocolError(
                    "The frame comes too slowly",
                    f"Of a large one {LARGE} bytes must come in {timeout:g} seconds (frame_timeout).",
                )
            )
            return None
        self._looked_at = self._kept
        return now + timeout

    def _check_alive(self, now: float) -> float | None:
        """Send a heart-beat if one is due, give up a dead client; return when to look again."""
        session = self.session
        if self.closing:
            return None
        if self._pauses:  # what we do not read cannot be missed
            session.heard = now
        if session.is_dead(now):
            self._give_up("Its heart-beats stayed away")
            return None
        if session.owes_heart_beat(now):
            session.spoke = now
            self.transport.write(b"\n")
        return self._next_look(now)

    def _give_up(self, why: str) -> None:
        """Hang up on a client that is not there any more, as it seems."""
        self._log.failed(ProtocolError(why), True)
        self._leave(died=True)
        self.transport.abort()

    def _next_look(self, now: float) -> float | None:
        """Return when to look again; soon enough that a link that is gone is not kept for long."""
        check = self.session.next_check()
        return None if check is None else min(check, now + LOOK_EVERY)

    # How a link begins and ends.

    def _connect(self, frame: Frame) -> None:
        headers = frame.headers
        try:
            agreed = self._server.accept(frame)
            host = self._host = self._reception.find(headers.get("host", ""))
            self._broker, self._turn, self._options = host.broker, host.turn, host.options
        except StompError as error:
            self._error(error, frame)
            return
        self._asking = True
        if PEER_NAME in headers and host.visitors is not None:
            self._meet(frame, agreed, host.visitors)
        else:
            claim = Claim(headers.get("login", ""), headers.get("passcode", ""))
            self._reception.let_in(claim, partial(self._answered, frame, agreed, None))
        if self._asking:
            self._early = []
            self.pause_reading()

    def _meet(self, frame: Frame, agreed: dict[str, str], visitors: Visitors) -> None:
        """Another broker has come, or somebody who says so."""
        peer = another_broker(frame.headers[PEER_NAME])
        introduction: dict[str, str] | None = None
        outcome: Person | HandshakeError = peer
        try:
            introduction = visitors.meet(frame.headers, agreed["version"])
        except HandshakeError as error:
            outcome = error
        answer = partial(self._answered, frame, agreed, introduction)
        self._reception.meet(peer.login, outcome, answer)

    def _answered(
        self,
        frame: Frame,
        agreed: dict[str, str],
        introduction: Mapping[str, str] | None,
        answer: Person | HandshakeError,
    ) -> None:
        """The reception knows who the client is, or that it is not let in."""
        self._asking = False
        early, self._early = self._early, None
        if self.closing:
            return
        if isinstance(answer, HandshakeError):
            self._error(answer, frame)
        else:
            try:
                self._enter(frame, agreed, answer, introduction)
            except StompError as error:
                self._error(error, frame)
        if early is not None:
            self.resume_reading()
            if not self.closing:
                self.data(b"".join(early))
            if self._lost:
                self.lost()
            elif self._hung_up:
                self.end_of_input()

    def _enter(
        self,
        frame: Frame,
        agreed: Mapping[str, str],
        person: Person,
        introduction: Mapping[str, str] | None,
    ) -> None:
        """The client is let in; with an `introduction` it is another broker. Raises `HandshakeError`."""
        host, options, version = self._host, self._options, agreed["version"]
        if introduction is not None:
            self._dialect = DIALECTS["activemq"]  # whatever others may expect here
        self._check_client_id(frame.headers.get("client-id", ""))
        headers = {
            "version": version,
            "session": self._session_id,
            "server": self._dialect.server_header,
            "heart-beat": agreed["heart-beat"],
            **(introduction or {}),
        }
        if "request-id" in frame.headers:
            headers["response-id"] = frame.headers["request-id"]
        if "receipt" in frame.headers:  # CONNECT has no RECEIPT of its own; ActiveMQ echoes it here
            headers["receipt-id"] = frame.headers["receipt"]
            headers.setdefault("response-id", frame.headers["receipt"])
        self.say(Frame("CONNECTED", headers).encode(version))
        self._parser.version = version
        self._parser.limits = after_login(options)
        client = Client(
            version,
            self._dialect,
            self._broker,
            options,
            self._outbox,
            partial(self._turn.promise, self),
            self._session_id,
            person,
            frame.headers.get("client-id", ""),
            self._turn.stamp,
            host.rights,
        )
        if introduction is None or host.visitors is None:
            self._conversation = Conversation(client, host.id_prefix, self._end)
        else:
            self._parser.limits = for_peers(options)
            self._conversation = host.visitors.talk(
                frame.headers, client, host.id_prefix, self._end, self.dismiss
            )
        if self._let_in is not None:
            self._let_in()
        self._log.came(client.login)
        self._look_after()

    def _look_after(self) -> None:
        """Look at heart-beats from now on."""
        if (look := self._next_look(self._turn.now)) is not None:
            self._host.agenda.add(look, self._check_alive)

    def _check_client_id(self, client_id: str) -> None:
        """Raise `HandshakeError` if somebody is connected under that name already, or it is too long."""
        if len(client_id.encode()) > ID_BYTES:
            raise HandshakeError(
                f"The header client-id is longer than {ID_BYTES} bytes", "Use a shorter one."
            )
        if client_id in self._broker.client_ids:
            raise HandshakeError(
                f"Broker: hoofbeat - Client: {client_id} already connected",
                "A client-id belongs to one connection at a time: end the other, or use another.",
            )

    def _error(self, error: StompError, frame: Frame | None = None) -> None:
        """Answer a fault with an ERROR frame; close if what follows cannot be trusted."""
        receipt = None if frame is None else frame.headers.get("receipt")
        data = error_frame(error, receipt, self.session.version or "1.0")
        closes = error.fatal or self._dialect.error_policy == "strict"
        self._log.failed(error, closes, frame)
        if closes:
            self._end(data, died=True)  # perhaps of a message that it was given
        else:
            self.say(data)

    def _end(self, last_word: bytes, died: bool = False) -> None:
        """Hear no more; say the last word once everything done so far is durable, then hang up."""
        self._leave(died)
        self._turn.promise(self, last_word, last=True)

    def _leave(self, died: bool = False) -> None:
        """The client is gone or going: what it held is free before it hears the last word."""
        self.closing = True
        self._parser.forget()
        if self._kept and self._arriving is not None:
            self._arriving.leave(self, self._kept)
            self._kept = 0
        if self._held is not None:
            self._held = self._handout = None
            self._broker.wait_no_longer(self._take_up)
            self._broker.again.pop(self, None)
        if self._conversation is not None:
            self._conversation.leave(died)


def place_of(frame: Frame, frames: list[Frame]) -> int:
    """Return where a frame stands. Not `index`: an equal one may stand before it."""
    return next(number for number, each in enumerate(frames) if each is frame)


def _nobody_listens() -> None:
    """Take the place of what wakes the turn."""


def before_login(options: Options) -> Limits:
    """How large a frame may be before CONNECT: whoever is not let in can occupy little memory."""
    most = options.max_connect_frame
    return Limits(options.max_command, most, min(options.max_headers, CONNECT_HEADERS), most, most)


def for_peers(options: Options) -> Limits:
    """How large a frame of another broker may be: as that of a client, with what the way adds to it."""
    return Limits(
        options.max_command,
        options.max_header_line + ADDED,
        options.max_headers + ADDED_HEADERS,
        options.max_header_block + ADDED_HEADERS * ADDED,
        options.max_body,
    )


def after_login(options: Options) -> Limits:
    """How large a frame may be after CONNECT."""
    return Limits(
        options.max_command,
        options.max_header_line,
        options.max_headers,
        options.max_header_block,
        options.max_body,
    )
