"""Passcodes and their hashes: argon2id, by argon2-cffi.

A hash carries its parameters, so that those made with others stay good. 20 MiB and two passes are what OWASP asks for,
about 40 ms of one core: slow for whoever has stolen the file, and quick for a client that logs in.
"""

from __future__ import annotations

import base64
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

MEMORY, PASSES, LANES = 20 * 1024, 2, 1  # KiB, times, threads

HASHER = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES)
SALT, DIGEST = 16, 32  # bytes
PARAMETERS = f"$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}"


def make_hash(passcode: str) -> str:
    """Return the hash of a passcode. It takes a while."""
    return HASHER.hash(passcode)


def matches(hash: str, passcode: str) -> bool:
    """Tell whether a hash is that of a passcode. It takes a while, and holds up no other thread."""
    try:
        return HASHER.verify(hash, passcode)
    except VerifyMismatchError:
        return False


def nobodys_hash(like: str = "") -> str:
    """Return a hash that no passcode has, to be looked at for users who do not exist, so that it takes as long.

    `like` is a hash with the parameters that it is to have; else those of new hashes.
    """
    parameters = like.rsplit("$", 2)[0] if like else PARAMETERS
    return "$".join((parameters, _random(SALT), _random(DIGEST)))


def _random(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
