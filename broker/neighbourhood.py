"""Where somebody comes from, for limits that count all clients of one place: a network address, of IPv6 a network.

Whoever has one IPv6 address has 2^64 of them or more: those that begin alike are one here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address


def neighbourhood(address: str) -> str:
    """Return what the addresses of one client have in common; it is never "".

    `address` is HOST:PORT. Of an IPv6 host it is the network of 64 bits that a household has, of any other the host.
    """
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        found = ip_address(host)
    except ValueError:  # whoever carries the bytes knows no addresses
        return host or "nowhere"
    if isinstance(found, IPv4Address):
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, 64), strict=False))
