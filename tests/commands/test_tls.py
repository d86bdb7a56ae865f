"""The commands of remote calls over TLS, which their URL says; and what is wrong with it, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.commands.conftest import PROGRAM, Command, Shell
from tests.harness import BrokerProcess


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Shell]:
    """Return a shell with a broker that wants certificates, and `alice`'s in the environment."""
    directory = tmp_path_factory.mktemp("secure")
    (directory / "app.py").write_text(PROGRAM)
    certificate, key = authority.issue()
    settings: dict[str, object] = {
        "tls_certificate": certificate,
        "tls_key": key,
        "tls_client_authorities": authority.path,
        "administrators": "alice",
    }
    broker = BrokerProcess("memory:", directory, settings)
    certificate, key = authority.issue("alice")
    files = f"tls_authorities={authority.path}&tls_certificate={certificate}&tls_key={key}"
    yield Shell(directory, f"{broker.url}?{files}")
    broker.kill()


def test_every_command(shell: Shell, start: Callable[..., Command]) -> None:
    worker = start("worker", "app:worker", "--processes", "1")
    worker.wait_for_line("ready")
    assert shell("call", "demo.add", "1", "2") == (0, "3\n", "")
    assert shell("call", "--url", shell.url, "demo.text", HOOFBEAT_URL="")[:2] == (0, '"größer"\n')
    assert shell("call", "demo.count", "2", "--stream").out == '"item 0"\n"item 1"\n'
    assert "demo" in {each["name"] for each in json.loads(shell("services", "--json").out)}
    assert "add(a: int" in shell("describe", "demo").out
    status, _, errors = shell("track", "no-such-message")
    assert status == 1
    assert "no-such-message" in errors


@pytest.mark.parametrize("words", [("call", "a.b"), ("services",), ("worker", "app:worker")])
@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("?tls_authorities=none.pem", "tls_authorities: cannot read none.pem: No such file"),
        ("?tls_authorities=app.py", "tls_authorities: no certificate in PEM in app.py"),
        ("?insecure=true", "there is no 'insecure' in a query"),
    ],
)
def test_a_url_that_makes_no_sense(
    shell: Shell, words: tuple[str, ...], query: str, wrong: str
) -> None:
    url = f"stomp+ssl://localhost{query}"
    status, out, errors = shell(*words, HOOFBEAT_URL=url)
    assert (status, out) == (2, "")
    assert errors.startswith("hoofbeat: ")
    assert wrong in errors
    assert errors.count("\n") == 1


def test_a_broker_that_does_not_convince(shell: Shell, tmp_path: Path) -> None:
    url = shell.url.replace("tls_authorities=", f"tls_authorities={Authority(tmp_path).path}&x=")
    url = "&".join(each for each in url.split("&") if not each.startswith("x="))
    status, out, errors = shell("call", "broker.info", HOOFBEAT_URL=url)
    assert (status, out) == (1, "")
    assert errors.startswith("hoofbeat: ConnectionLost: No connection to 127.0.0.1:")
    assert "certificate verify failed" in errors
    assert errors.count("\n") == 1


def test_a_measurement_says_that_it_has_no_tls(shell: Shell) -> None:
    status, _, errors = shell("bench", "--url", shell.url)
    assert status == 2
    assert "stomp://" in errors
