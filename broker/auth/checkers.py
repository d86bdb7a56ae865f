"""Who says whether a login is right: our users file, certificates, and whatever `twisted.cred` brings.

A checker, in the words of `twisted.cred`, takes credentials and returns a login. Several for passcodes are asked one after
the other, the users file first, and the first that says yes is believed.
"""

from __future__ import annotations

import contextlib
import io
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import ICredentials, IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, implementer

from broker.auth.hashing import Busy, Hashing
from broker.auth.passcodes import matches
from broker.auth.registry import Registry

#: What Twisted calls an avatar id: the login; nothing would be somebody anonymous.
Login = bytes | tuple[()]

MOST_REMEMBERED = 10_000  # logins that were right


class Passcode(UsernamePassword):
    """A login and a passcode, both as bytes: `IUsernamePassword`."""

    def __init__(self, login: str, passcode: str, address: str) -> None:
        """`address` stands for where they come from."""
        super().__init__(login.encode(), passcode.encode())
        self.address = address


class ICertificate(ICredentials):
    """A client has shown a certificate, and TLS has verified it."""

    name = Attribute("The name in it, a `str`.")


@implementer(ICertificate)
class Certificate:
    """The name in a certificate."""

    def __init__(self, name: str) -> None:
        self.name = name


@implementer(ICredentialsChecker)
class CertificateChecker:
    """Believes TLS: whom an authority has signed for is who he says."""

    credentialInterfaces = (ICertificate,)

    def requestAvatarId(self, credentials: Certificate) -> Deferred[Login]:
        """Twisted: return the login."""
        return succeed(credentials.name.encode())


@implementer(ICredentialsChecker)
class UsersChecker:
    """Asks the users file.

    What was right is right for a while without a look at the hash, for web pages log in for each request: known by a hash
    with a key of this process, never by itself. The same question asked again meanwhile waits for the first answer.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, registry: Registry, hashing: Hashing, remembered: float, now: Callable[[], float]
    ) -> None:
        """`remembered`: so many seconds, 0 for none; `now` returns monotonic seconds."""
        self._registry = registry
        self._hashing = hashing
        self._for = remembered
        self._now = now
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._age = registry.age
        self._asked: dict[bytes, list[Deferred[Login]]] = {}  # who waits for an answer

    def requestAvatarId(self, credentials: Passcode) -> Deferred[Login]:
        """Twisted: return the login; fails with `UnauthorizedLogin` or `Busy`."""
        login, passcode = credentials.username, credentials.password
        user = self._registry.find(login.decode())
        if self._registry.age != self._age:
            self._age = self._registry.age
            self._right.clear()
        is_known = user is not None and bool(user.hash)
        hash = user.hash if user is not None and user.hash else self._registry.nobody
        key = self._digest(login, passcode, hash.encode())
        if self._right.get(key, 0.0) > self._now():
            return succeed(login)
        mine: Deferred[Login] = Deferred()
        if key in self._asked:
            self._asked[key].append(mine)
            return mine
        try:
            answer = self._hashing.run(
                credentials.address, lambda: matches(hash, passcode.decode())
            )
        except Busy as error:
            return fail(error)
        self._asked[key] = [mine]
        answer.addBoth(self._answered, key, login, is_known)
        return mine

    def _answered(self, answer: bool | Failure, key: bytes, login: bytes, is_known: bool) -> None:
        waiting = self._asked.pop(key)
        is_right = answer is True and is_known
        if is_right and self._for:
            self._right[key] = self._now() + self._for
            self._right.move_to_end(key)
            if len(self._right) > MOST_REMEMBERED:
                self._right.popitem(last=False)
        for each in waiting:
            if isinstance(answer, Failure):
                each.errback(answer)
            elif is_right:
                each.callback(login)
            else:
                each.errback(UnauthorizedLogin())

    def _digest(self, *parts: bytes) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()


@implementer(ICredentialsChecker)
class OneAfterTheOther:
    """Several checkers for passcodes."""

    credentialInterfaces = (IUsernamePassword,)
    log = Logger()

    def __init__(self, checkers: Sequence[Any]) -> None:
        """They are asked in this order."""
        self._checkers = checkers

    async def _ask(self, credentials: Passcode) -> Login:
        trouble: Exception | None = None
        for checker in self._checkers:
            try:
                found: object = await maybeDeferred(checker.requestAvatarId, credentials)
            except LoginFailed:
                continue
            except Busy as error:
                trouble = error
            except Exception as error:  # a directory that does not answer, for one
                trouble = error
                self._tell(checker, error, credentials.password.decode())
            else:
                return found if isinstance(found, bytes) else str(found).encode()
        raise UnauthorizedLogin() if trouble is None else trouble

    def requestAvatarId(self, credentials: Passcode) -> Deferred[Login]:
        """Twisted: return the login of the first who knows it.

        Fails with `UnauthorizedLogin` if nobody does, with another error if somebody could not say.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    def _tell(self, checker: object, error: Exception, passcode: str) -> None:
        """Tell the operator of a fault, and nobody of the passcode."""
        self.log.error(
            "{checker} could not check a login: {kind}: {error}",
            checker=type(checker).__name__,
            kind=type(error).__name__,
            error=str(error).replace(passcode, "…"),
        )


class CannotCheck(Exception):
    """There is no such checker, in one line that says what would be right."""


def make_checker(description: str) -> Any:
    """Return the checker of TYPE:ARGUMENT, as `twisted.cred.strcred` has them. Raises `CannotCheck`."""
    from twisted.cred.strcred import InvalidAuthType, findCheckerFactory  # looks for plugins

    kind, _, argument = description.partition(":")
    try:
        factory = findCheckerFactory(kind)
        if IUsernamePassword not in factory.credentialInterfaces:
            raise CannotCheck(f"auth: {kind} does not check passcodes")
        checker: Any = factory.generateChecker(argument)
    except InvalidAuthType:
        raise CannotCheck(f"auth: unknown {kind!r}; there are: {', '.join(kinds())}") from None
    except CannotCheck:
        raise
    except Exception as error:  # the argument is not shown: it may hold passcodes
        raise CannotCheck(f"auth: {kind} does not take its argument: {error}") from None
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # It is given text, and compares it with the bytes of the credentials.
        checker.users = {_bytes(name): _bytes(value) for name, value in checker.users.items()}
    return checker


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def kinds() -> list[str]:
    """Return the types of checkers that there are."""
    from twisted.cred.strcred import findCheckerFactories

    return sorted(
        factory.authType
        for factory in findCheckerFactories()
        if IUsernamePassword in factory.credentialInterfaces
    )


def help_text() -> str:
    """Return what Twisted says of the checkers that there are."""
    from twisted.cred.strcred import AuthOptionMixin
    from twisted.python import usage

    class Help(usage.Options, AuthOptionMixin):
        supportedInterfaces = (IUsernamePassword,)
        authOutput = io.StringIO()

    with contextlib.suppress(SystemExit):
        Help().opt_help_auth()
    lines = Help.authOutput.getvalue().splitlines(keepends=True)
    return "".join(line for line in lines if "--help-auth-type" not in line)  # which we have not
