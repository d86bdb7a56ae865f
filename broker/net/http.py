"""HTTP in front of the broker: messages put by any web program, and links of other brokers that come through proxies.

    PUT  /queue/NAME/ID     a message, at most once however often it is put (by `dedup-id`)   201, 4xx, 503
                            401: who sends it is not let in; `Authorization: Basic` is login and passcode
                            403: it is let in, and may not send there
    POST /queue/NAME        a message                                                          201, 4xx, 503
                            both to the virtual host that the header Host names

    POST /link              begin a link, with its first bytes: STOMP, as on TCP                201, Location
    POST /link/TOKEN        what the other end says                                            204, 410
    GET  /link/TOKEN        what we say, as soon as there is something                         200 bytes, 410

Behind each is an ordinary `Connection`, so that what may be sent, how large, and what is refused with which words is
the same for everybody. A 201 is a RECEIPT: it is on disk.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.error import UnsupportedMethod
from twisted.web.http import Request as HttpRequest
from twisted.web.http_headers import Headers
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from broker.net.carried import Carried
from broker.net.gate import Gate, GateHouse, bounded, let_in
from broker.net.secure import certificate_name
from broker.sending import GROUP_SEQ, INTERPRETED, REPEAT
from broker.stomp.frame import Frame
from broker.stomp.parser import Parser

if TYPE_CHECKING:
    from broker.net.stream import House
    from broker.options import Options

PIECE = 1024 * 1024  # bytes of a link that one request or answer carries
LONGEST_WAIT = 20.0  # seconds that a GET waits for something to say: less than proxies do
GONE_AFTER = 60.0  # seconds without a GET after which the other end is gone
STOMP = b"stomp-"  # begins the HTTP headers that are headers of the message
#: Headers of SEND that mean something, by their names in small letters.
NAMES = {name.lower(): name for name in (*INTERPRETED, GROUP_SEQ, REPEAT)}
KINDS = ("queue", "topic")
TEXT = b"text/plain; charset=utf-8"
CHALLENGE = b'Basic realm="hoofbeat", charset="UTF-8"'
VISIBLE = dict.fromkeys((*range(32), 127), "\N{REPLACEMENT CHARACTER}")


class Door(Resource):
    """The root of everything."""

    def __init__(self, house: GateHouse, later: Callable[..., IDelayedCall], max_body: int) -> None:
        """`later` is the reactor's `callLater`; a message has at most `max_body` bytes."""
        super().__init__()
        self.putChild(b"link", LinkDoor(house, later))
        for kind in KINDS:
            self.putChild(kind.encode(), Inbox(house, f"/{kind}/", max_body))


class Taking(Resource):
    """Takes something, and shows nothing: a HEAD, which Twisted takes for a GET, is refused as that is."""

    def render_HEAD(self, request: Request) -> bytes:
        """Twisted: somebody asks what a GET would bring. Raises `UnsupportedMethod`."""
        raise UnsupportedMethod([b"POST"])


class Inbox(Taking):
    """Takes messages for destinations of one kind."""

    isLeaf = True

    def __init__(self, house: House, prefix: str, max_body: int) -> None:
        super().__init__()
        self._house = house
        self._prefix = prefix
        self._max_body = max_body

    def render_POST(self, request: Request) -> Any:
        """Twisted: a message, with an id of ours."""
        return self._take(request, path_of(request), "")

    def render_PUT(self, request: Request) -> Any:
        """Twisted: a message with an id of the sender's."""
        path = path_of(request)
        if len(path) < 2 or not path[-1]:
            return refuse(request, 400, f"PUT {self._prefix}NAME/ID: the id is missing")
        return self._take(request, path[:-1], path[-1])

    def _take(self, request: Request, path: list[str], id: str) -> Any:
        destination = self._prefix + "/".join(path)
        if "," in destination:
            return refuse(request, 400, "one destination, without commas")
        if request.getHeader(b"authorization") and not request.getUser():
            request.setHeader(b"www-authenticate", CHALLENGE)
            return refuse(request, 401, "Authorization: Basic, and LOGIN:PASSCODE in base64")
        body = request.content.read() if request.content is not None else b""
        if len(body) > self._max_body:
            return refuse(request, 413, f"a message has at most {self._max_body} bytes")
        headers = dict(message_headers(request.requestHeaders))
        headers |= {"destination": destination, "receipt": "stored"}
        if id:
            headers["dedup-id"] = id
        Delivery(self._house, request, Frame("SEND", headers, body))
        return NOT_DONE_YET


class Delivery:
    """One message on its way in: a connection that says CONNECT and SEND, and whose answer is HTTP's."""

    def __init__(self, house: House, request: Request, send: Frame) -> None:
        self._request: Request | None = request
        self._parser = Parser()
        self._is_in = False  # it was let in
        self._carried = Carried(house, address_of(request), self._changed, name_of(request))
        said = {"accept-version": "1.2", "host": host_of(request), **login_of(request)}
        connect = Frame("CONNECT", said)
        request.notifyFinish().addErrback(lambda _: self._hung_up())
        self._carried.feed(connect.encode("1.0"))
        self._carried.feed(send.encode("1.2"))

    def _changed(self) -> None:
        data = self._carried.take(PIECE)
        frames = self._parser.feed(data)
        if frames and self._parser.version is None:
            self._parser.version = "1.2"
            frames += self._parser.feed(b"")
        for frame in frames:
            if frame.command != "CONNECTED":
                self._answer(frame)
            else:
                self._is_in = True
                if self._request is not None:
                    let_in(self._request)
        if self._carried.is_over and self._request is not None:
            self._finish(503, b"the broker is stopping")

    def _answer(self, frame: Frame) -> None:
        if frame.command == "RECEIPT":
            self._finish(201, b"")
        elif "retry" in frame.headers:
            self._finish(503, frame.body)
        elif "denied" in frame.headers:
            self._finish(403, frame.body)
        elif self._is_in:
            self._finish(400, frame.body)
        else:
            if self._request is not None:
                self._request.setHeader(b"www-authenticate", CHALLENGE)
            self._finish(401, frame.body)

    def _finish(self, status: int, body: bytes) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.setResponseCode(status)
            request.setHeader(b"content-type", TEXT)
            request.write(body)
            request.finish()
        self._carried.abort()

    def _hung_up(self) -> None:
        self._request = None
        self._carried.abort()


class LinkDoor(Taking):
    """Where links begin, and are found again."""

    def __init__(self, house: GateHouse, later: Callable[..., IDelayedCall]) -> None:
        super().__init__()
        self._house = house
        self._later = later
        self._links: dict[bytes, Link] = {}

    def getChild(self, path: bytes, request: HttpRequest) -> Resource:
        """Twisted: return a link."""
        if not path:
            return self
        link = self._links.get(path)
        if link is None:
            return NoResource("This link is over")
        if self._house.lobby.has_let_in(link.carried):  # else the socket waits, as the link does
            let_in(request)
        return link

    def render_POST(self, request: Request) -> Any:
        """Twisted: begin a link."""
        token = secrets.token_urlsafe(18).encode()
        link = Link(self._house, self._later, request, lambda: self._forget(token))
        self._links[token] = link
        request.setResponseCode(201)
        request.setHeader(b"location", b"/link/" + token)
        return link.render_POST(request, begins=True)

    def _forget(self, token: bytes) -> None:
        self._links.pop(token, None)


class Link(Taking):
    """One link: what comes in POSTs goes to the connection, what it says goes out with GETs."""

    isLeaf = True

    def __init__(
        self,
        house: House,
        later: Callable[..., IDelayedCall],
        request: Request,
        forget: Callable[[], None],
    ) -> None:
        """`request` begins it: who sends that is whose link it is."""
        super().__init__()
        self._later = later
        self._forget = forget
        self._saying: Request | None = None  # a POST that waits until the connection takes more
        self._hearing: Request | None = None  # a GET that waits for something to say
        self._wait: IDelayedCall | None = None
        self.carried = Carried(house, address_of(request), self._changed, name_of(request))
        self._gone = later(GONE_AFTER, self.carried.end)

    def render_POST(self, request: Request, begins: bool = False) -> Any:
        """Twisted: the other end says something."""
        if self.carried.is_over or self._saying is not None:
            return refuse(request, 410, "this link is over")
        data = request.content.read() if request.content is not None else b""
        if not begins:
            request.setResponseCode(204)
        self._saying = request
        request.notifyFinish().addErrback(lambda _: self._stopped_saying())
        self.carried.feed(data)
        self._changed()
        return NOT_DONE_YET

    def render_GET(self, request: Request) -> Any:
        """Twisted: the other end listens."""
        if self.carried.is_over or self._hearing is not None:
            return refuse(request, 410, "this link is over")
        self._stay()
        self._hearing = request
        self._wait = self._later(LONGEST_WAIT, self._say)
        request.notifyFinish().addErrback(lambda _: self._stopped_hearing())
        if self.carried.has_output:
            self._say()
        return NOT_DONE_YET

    def _changed(self) -> None:
        """There is something to say, or more can be taken, or all is over."""
        over = self.carried.is_over
        if self._saying is not None and (over or self.carried.is_open_to_more):
            saying, self._saying = self._saying, None
            saying.finish()
        if self._hearing is not None and (over or self.carried.has_output):
            self._say()
        if over:
            self._forget()
            self._stay()

    def _say(self) -> None:
        request, self._hearing = self._hearing, None
        if self._wait is not None and self._wait.active():
            self._wait.cancel()
        if request is None:
            return
        request.setHeader(b"content-type", b"application/octet-stream")
        data = self.carried.take(PIECE)
        if not data and self.carried.is_over:
            request.setResponseCode(410)
        request.write(data)
        request.finish()
        if not self.carried.is_over:
            self._gone = self._later(GONE_AFTER, self.carried.end)

    def _stay(self) -> None:
        """The other end is there, or nobody need wait for it any more."""
        if self._gone.active():
            self._gone.cancel()

    def _stopped_saying(self) -> None:
        self._saying = None
        self.carried.end()

    def _stopped_hearing(self) -> None:
        """Nobody knows what has been heard of what was said last."""
        self._hearing = None
        self.carried.end()


def path_of(request: Request) -> list[str]:
    """Return what stands behind the kind of destination, between slashes; what is no UTF-8 is no name."""
    return [part.decode(errors="replace") for part in request.postpath or ()]


def host_of(request: Request) -> str:
    """Return the host that a request is for, without a port; as in CONNECT it may name a virtual host."""
    return request.getRequestHostname().decode("latin-1").strip("[]") or "/"


def login_of(request: Request) -> dict[str, str]:
    """Return the headers of a CONNECT that say who asks; control characters, which would end one, are of no login."""
    login, passcode = request.getUser(), request.getPassword()
    if not login:
        return {}
    return {
        name: value.decode(errors="replace").translate(VISIBLE)
        for name, value in (("login", login), ("passcode", passcode))
    }


def address_of(request: Request) -> str:
    """Return who asks, HOST:PORT."""
    client = request.getClientAddress()
    return f"{getattr(client, 'host', '')}:{getattr(client, 'port', '')}"


def name_of(request: Request) -> str:
    """Return the name in the certificate of who asks, "" without one."""
    return certificate_name(getattr(request.channel, "transport", None))


def message_headers(headers: Headers) -> list[tuple[str, str]]:
    """Return the headers of the message: `content-type`, and all that begin with `Stomp-`, but for the length.

    HTTP does not tell small letters from capitals: what means something to the broker is written as it reads it, and
    the rest in small ones.
    """
    found = []
    for name, values in headers.getAllRawHeaders():
        lower = name.lower()
        if lower == b"content-type":
            found.append(("content-type", values[0].decode("latin-1")))
        elif lower.startswith(STOMP):
            mine = lower[len(STOMP) :].decode("latin-1")
            found.append((NAMES.get(mine, mine), values[0].decode("latin-1")))
    return [(name, value) for name, value in found if name != "content-length"]


def refuse(request: Request, status: int, text: str) -> bytes:
    """Answer with an error in one line."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", TEXT)
    return f"{text}\n".encode()


def make_site(house: GateHouse, reactor: Any, options: Options) -> Gate:
    """Return what a listener for HTTP serves."""
    max_body = max(each.max_body for each in (options, *options.hosts.values()))
    door = Door(house, reactor.callLater, max_body)
    return Gate(
        Site(door, requestFactory=bounded(house, reactor, max_body, options.frame_timeout)),
        house.lobby,
    )
