"""Who finds out who a client is, and slows down who guesses: `LoginGuard`.

    CONNECT ─▶ `LoginGuard.let_in` ─▶ does its address have to wait? ─▶ portal: certificate, or login and passcode ─▶ `Person`
                                                                                                └▶ one ERROR for all

What makes a login wrong is told to nobody: not the user, not the passcode, not that he is disabled; and it takes as long.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from broker.auth.listeners import check_listeners
from broker.auth.throttle import Throttle
from broker.errors import HandshakeError
from broker.neighbourhood import neighbourhood
from broker.options import Options
from broker.person import Person, anonymous, unchecked
from broker.reception import Answer, Claim

if TYPE_CHECKING:
    from twisted.cred.portal import Portal

MOST_EACH = 128  # logins of one address that are kept waiting
PATIENCE = 30.0  # seconds in which a checker must have answered
SHOWN = 100  # characters of a login


class Stranger(Protocol):
    """What is known of a connection from outside."""

    @property
    def address(self) -> str:
        """HOST:PORT."""

    def certificate_name(self) -> str:
        """Return the name in the certificate that it has shown and TLS has verified, "" without one."""

    def abort(self) -> None:
        """Hang up now."""


class Authentication:
    """What all guards of a broker share."""

    def __init__(self, options: Options, reactor: Any, begin: Callable[[], None]) -> None:
        """`begin` begins a turn. Raises `OptionsError`."""
        check_listeners(options)
        self.begin = begin
        self.throttle = Throttle(options.login_failures)
        self._paused: Counter[str] = Counter()  # who is kept waiting, by address
        self.is_over = False  # the broker stops: nobody is answered any more
        self.portal: Portal | None = None  # who is who; without, nobody is asked
        self.reactor = reactor
        self._stop: Callable[[], None] = lambda: None
        if not options.is_open:
            # Libraries that an open broker does not need.
            from broker.auth.portal import make_portal

            self.portal, self._stop = make_portal(options, reactor.callFromThread)

    def stop(self) -> None:
        """The broker stops."""
        self.is_over = True
        self._stop()

    async def pause(self, address: str, seconds: float) -> bool:
        """Let somebody wait, and return True; False at once if too many from there do.

        Whoever hangs up meanwhile is waited for all the same, so that guessing is not quicker; it takes memory.
        """
        if self._paused[address] >= MOST_EACH:
            return False
        self._paused[address] += 1
        over: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, over.callback, None)
        await over
        self._paused[address] -= 1
        if not self._paused[address]:
            del self._paused[address]
        return True


class LoginGuard:
    """Finds out who one client is: a `Guard`. Where nobody is asked, it is whom it says it is."""

    log = Logger()

    def __init__(
        self, authentication: Authentication, stranger: Stranger, lets_anonymous_in: bool
    ) -> None:
        self._authentication = authentication
        self._throttle = authentication.throttle
        self._stranger = stranger
        self._lets_anonymous_in = lets_anonymous_in

    def let_in(self, claim: Claim, answer: Answer) -> None:
        """Find out who somebody is."""
        if self._authentication.portal is None:
            answer(unchecked(claim.login))
            return
        certificate = self._stranger.certificate_name()
        if certificate and claim.login in ("", certificate):
            self._begin(self._believe(certificate, answer))
        elif claim.login:
            self._begin(self._check(claim, answer))
        else:
            answer(anonymous() if self._lets_anonymous_in else refusal(""))

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        """Another broker has come, and its passcode was right or not."""
        self._begin(self._meet(peer, outcome, answer))

    async def _believe(self, name: str, answer: Answer) -> None:
        """TLS has checked who it is."""
        from broker.auth.checkers import Certificate

        self._say(answer, await self._ask(Certificate(name), name))

    async def _check(self, claim: Claim, answer: Answer) -> None:
        """Check a passcode. Who has to wait does so before; and of many that come at once, after it."""
        from broker.auth.checkers import Passcode

        address = neighbourhood(self._stranger.address)
        early = self._wait(address, claim.login)
        if early and not await self._authentication.pause(address, early):
            self._say(answer, Overload())
            return
        credentials = Passcode(claim.login, claim.passcode, address)
        outcome = await self._ask(credentials, claim.login)
        late = 0.0 if early else self._wait(address, claim.login)
        self._note(address, claim.login, outcome)
        if late and not await self._authentication.pause(address, late):
            outcome = Overload()
        self._say(answer, outcome)

    async def _meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        address = neighbourhood(self._stranger.address)
        wait = self._wait(address, peer)
        self._note(address, peer, outcome)
        if wait and not await self._authentication.pause(address, wait):
            outcome = Overload()
        self._say(answer, outcome)

    async def _ask(self, credentials: Any, login: str) -> Person | HandshakeError:
        """Return who has these credentials, or the refusal."""
        from twisted.cred.error import LoginFailed

        from broker.auth.portal import IPerson

        portal = self._authentication.portal
        if portal is None or self._authentication.is_over:
            return Overload()
        try:
            asked = portal.login(credentials, None, IPerson)
            if not asked.called:
                asked.addTimeout(PATIENCE, self._authentication.reactor)
            _, person, _ = await asked
        except LoginFailed:
            return refusal(login)
        except Exception:  # the checker has told why
            return Overload()
        return cast("Person", person)

    def _wait(self, address: str, login: str) -> float:
        return self._throttle.wait(address, login, time.monotonic())

    def _note(self, address: str, login: str, outcome: Person | HandshakeError) -> None:
        if isinstance(outcome, Person):
            self._throttle.succeeded(address, login)
        elif not isinstance(outcome, Overload):
            self._throttle.failed(address, login, time.monotonic())

    def _say(self, answer: Answer, outcome: Person | HandshakeError) -> None:
        if not self._authentication.is_over:
            self._authentication.begin()
            answer(outcome)

    def _begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """End a connection that met a fault of ours."""
        self.log.failure(
            "A fault of ours: the connection from {address} ends",
            failure,
            address=self._stranger.address,
        )
        self._stranger.abort()


class Overload(HandshakeError):
    """It could not be found out who somebody is; that says nothing of him."""

    def __init__(self) -> None:
        super().__init__(
            "Logins cannot be checked just now", "Come again in some seconds.", {"retry": "true"}
        )


def refusal(login: str) -> HandshakeError:
    """Return what everybody hears who is not let in, in ActiveMQ's words."""
    shown = login if len(login) <= SHOWN else f"{login[:SHOWN]}…"
    return HandshakeError(
        f"User name [{shown}] or password is invalid.",
        "CONNECT says who it is with the headers login and passcode.",
    )
