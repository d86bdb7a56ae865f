"""Whether the broker may listen as it is told to: where everybody is let in, nobody outside can come.

A broker is open if it has neither users nor other checkers of logins.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from broker.options import DEFAULT_ADMINISTRATORS, Listener, Options, OptionsError


def check_listeners(options: Options) -> None:
    """Raise `OptionsError` if strangers could come in unasked, or if a setting needs logins that nobody checks."""
    if not options.is_open:
        return
    if options.administrators != DEFAULT_ADMINISTRATORS:
        raise OptionsError(
            "administrators are told by their logins, which nobody checks here:"
            " `users` or `auth` say who does (docs/security.md)"
        )
    for listener in options.listeners:
        if not (listener.insecure or listener.tls_certificate or is_loopback(listener)):
            raise OptionsError(
                f"everybody who reaches {listener.host}:{listener.port} would be let in:"
                " set `users` (or `auth`), or `tls_certificate`; or `insecure` if that is meant (docs/security.md)"
            )


def is_loopback(listener: Listener) -> bool:
    """Tell whether only this machine reaches a listener. Raises `OptionsError` for a host that is not known."""
    return all(ipaddress.ip_address(address).is_loopback for address in addresses_of(listener))


def addresses_of(listener: Listener) -> Iterable[str]:
    """Return the addresses that a name means now. Raises `OptionsError`."""
    try:
        found = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise OptionsError(
            f"cannot listen on {listener.host}:{listener.port}: {error.strerror}"
        ) from None
    return {str(address[0]).partition("%")[0] for *_, address in found}
