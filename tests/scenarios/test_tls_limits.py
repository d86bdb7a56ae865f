"""What a listener with TLS refuses: old versions, weak ciphers, and work that costs a client less than the broker.

The greetings here are made by hand, for a library does not offer what is refused.
"""

from __future__ import annotations

import hmac
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from tests.certificates import Authority
from tests.harness import DEADLINE, BrokerProcess
from tests.logs.reading import LogFile
from tests.scenarios.steps import is_served
from tests.scenarios.test_tls import SecureClient

SSL_3, TLS_1_0, TLS_1_1, TLS_1_2 = 0x0300, 0x0301, 0x0302, 0x0303
#: RFC 8446 6.2
HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70
GOOD = 0xC02F, 0xC030, 0xCCA8  # ECDHE_RSA with AES128-GCM, AES256-GCM, CHACHA20-POLY1305

Door = tuple[BrokerProcess, Authority, Path]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Return a broker whose certificate has a key of RSA: with it a client may propose most ciphers."""
    directory = tmp_path_factory.mktemp("door")
    authority = Authority(directory)
    certificate, key = authority.issue(is_rsa=True)
    settings: dict[str, object] = {"tls_certificate": certificate, "tls_key": key}
    broker = BrokerProcess("memory:", directory, settings)
    yield broker, authority, directory
    broker.kill()


# --- versions and ciphers ---------------------------------------------------------------------------


def sized(size: int, data: bytes) -> bytes:
    """Return data behind its length in so many bytes."""
    return len(data).to_bytes(size, "big") + data


def greeting(version: int, ciphers: tuple[int, ...]) -> bytes:
    """Return a ClientHello of TLS 1.2 or older (RFC 5246 7.4.1.2)."""
    extensions = {
        10: sized(2, bytes.fromhex("001d0017")),  # groups: x25519, P-256
        11: b"\1\0",  # points that are not compressed
        13: sized(2, bytes.fromhex("0804 0401 0501 0403 0201")),  # signatures
    }
    hello = b"".join(
        (
            version.to_bytes(2, "big"),
            os.urandom(32),
            sized(1, b""),
            sized(2, b"".join(each.to_bytes(2, "big") for each in ciphers)),
            sized(1, b"\0"),
            sized(
                2,
                b"".join(kind.to_bytes(2, "big") + sized(2, e) for kind, e in extensions.items()),
            ),
        )
    )
    return b"\x16\3\1" + sized(2, b"\1" + sized(3, hello))


def answer(port: int, version: int, *ciphers: int) -> int | str:
    """Return the alert with which a greeting is refused, or `accepted`."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as link:
        link.sendall(greeting(version, ciphers))
        said = link.recv(7)
    assert said, "it hung up without a word"
    return "accepted" if said[0] == 22 else said[6]


@pytest.mark.parametrize("version", [SSL_3, TLS_1_0, TLS_1_1])
def test_old_versions(version: int, door: Door) -> None:
    assert answer(door[0].port, version, *GOOD, 0x002F, 0x0035) == PROTOCOL_VERSION


@pytest.mark.parametrize("cipher", GOOD)
def test_good_ciphers(cipher: int, door: Door) -> None:
    """This shows that the greeting is right but for what is refused below."""
    assert answer(door[0].port, TLS_1_2, cipher) == "accepted"


@pytest.mark.parametrize(
    ("kind", "ciphers"),
    [
        ("no encryption", (0x0000, 0x0001, 0x0002, 0x003B, 0xC010)),
        ("for export", (0x0003, 0x0006, 0x0008, 0x0011, 0x0014)),
        ("RC4", (0x0004, 0x0005, 0xC011)),
        ("DES and 3DES", (0x0009, 0x000A, 0x0016, 0xC012)),
        ("nobody's certificate", (0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x00A6, 0xC018)),
        ("without forward secrecy", (0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D)),
        ("CBC", (0xC013, 0xC014, 0xC027, 0xC028, 0x0033, 0x0039)),
    ],
)
def test_weak_ciphers(kind: str, ciphers: tuple[int, ...], door: Door) -> None:
    assert answer(door[0].port, TLS_1_2, *ciphers) == HANDSHAKE_FAILURE


# --- work that costs a client less than the broker --------------------------------------------------


def test_a_client_cannot_shake_hands_again(door: Door) -> None:
    """Each time would cost the broker a signature: TLS 1.2 allows it, this broker does not."""
    context: Any = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with socket.create_connection(("127.0.0.1", door[0].port), DEADLINE) as link:
        client: Any = SSL.Connection(context, link)
        link.settimeout(None)  # which OpenSSL takes for an error
        client.set_connect_state()
        client.do_handshake()
        assert client.renegotiate()
        with pytest.raises(SSL.Error, match="no renegotiation"):
            client.do_handshake()


def expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without a context (RFC 8446 7.1), for up to 48 bytes."""
    full = b"tls13 " + label
    return hmac.digest(secret, length.to_bytes(2, "big") + sized(1, full) + b"\0\1", "sha384")[
        :length
    ]


def key_updates(secret: bytes, count: int, sent: int) -> Iterator[bytes]:
    """Yield records that ask the broker for new keys (RFC 8446 4.6.3); `sent`: records before, under this secret."""
    header = b"\x17\3\3" + (6 + 16).to_bytes(2, "big")
    for _ in range(count):
        key, iv = expanded(secret, b"key", 32), expanded(secret, b"iv", 12)
        nonce = (int.from_bytes(iv, "big") ^ sent).to_bytes(12, "big")
        yield header + AESGCM(key).encrypt(nonce, b"\x18\0\0\1\1\x16", header)
        secret, sent = expanded(secret, b"traffic upd", 48), 0


def demand_keys(door: Door, count: int, patience: float) -> bool:
    """Ask for new keys so often; return whether the broker goes on listening, as far as can be seen for a while."""
    broker, authority, directory = door
    keys = directory / "keys.txt"
    keys.write_text("")
    trust = ssl.create_default_context(cafile=authority.path)
    trust.keylog_filename = str(keys)
    client = SecureClient(trust, broker.port)
    cipher = client.secured.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"
    found = re.search(r"CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)", keys.read_text())
    assert found
    records = b"".join(key_updates(bytes.fromhex(found[1]), count, sent=1))
    with socket.socket(fileno=client.secured.detach()) as link:
        link.settimeout(DEADLINE)
        try:
            link.sendall(records)
            link.settimeout(patience)
            while link.recv(65536):
                pass
        except TimeoutError:
            return True
        except ConnectionError:
            pass
        return False


def test_a_client_may_ask_for_new_keys(door: Door) -> None:
    """Now and then, as TLS 1.3 wants."""
    assert demand_keys(door, 20, 0.3)


def test_a_client_that_asks_for_new_keys_all_the_time_is_hung_up_on(door: Door) -> None:
    """CVE-2026-39304: nothing piles up that it does not read, and others are served meanwhile."""
    broker, authority, directory = door
    trust = ssl.create_default_context(cafile=authority.path)
    with SecureClient(trust, broker.port) as other:
        before = broker.memory()
        for _ in range(3):
            assert not demand_keys(door, 10_000, DEADLINE)
            assert is_served(other)
        assert broker.memory() < before + 4 * 1024 * 1024
    LogFile(directory).wait_for("hung up on 127.*: it asks for new keys all the time", 3)
