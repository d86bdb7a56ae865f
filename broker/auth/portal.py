"""From credentials to a `Person`: the portal of `twisted.cred`, and its realm.

Whoever let somebody in, his groups are those of the users file; who is disabled there is not let in by anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from zope.interface import Interface, implementer

from broker.auth.checkers import (
    CannotCheck,
    CertificateChecker,
    OneAfterTheOther,
    UsersChecker,
    make_checker,
)
from broker.auth.hashing import Hashing
from broker.auth.registry import Registry
from broker.auth.users import UsersError
from broker.options import Options, OptionsError
from broker.person import ANONYMOUS, Person, is_name, known


class IPerson(Interface):
    """Who somebody is: `broker.person.Person`."""


@implementer(IRealm)
class Realm:
    """Makes persons."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], Person, Callable[[], None]]:
        """Twisted: return the person of a login that was checked. Raises `UnauthorizedLogin`."""
        login = avatarId.decode(errors="replace") if isinstance(avatarId, bytes) else ""
        if not is_name(login) or login == ANONYMOUS:  # a certificate may say anything
            raise UnauthorizedLogin
        user = self._registry.find(login)
        if user is not None and user.is_disabled:
            raise UnauthorizedLogin
        return IPerson, known(login, () if user is None else user.groups), _leave


def _leave() -> None:
    """Twisted: somebody has gone. Nothing is kept of him."""


def make_portal(
    options: Options, call_from_thread: Callable[..., object]
) -> tuple[Portal, Callable[[], None]]:
    """Return where credentials are exchanged for persons, and what to call when the broker stops. Raises `OptionsError`."""
    hashing = Hashing(call_from_thread)
    try:
        registry = Registry(options.users)
        checkers: list[Any] = [make_checker(each) for each in options.auth]
    except (UsersError, CannotCheck) as error:
        raise OptionsError(str(error)) from None
    if options.users:
        checkers.insert(
            0, UsersChecker(registry, hashing, options.login_remembered, time.monotonic)
        )
    return Portal(Realm(registry), [OneAfterTheOther(checkers), CertificateChecker()]), hashing.stop
