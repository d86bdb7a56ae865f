"""A broker that lets everybody in is not reached from outside by accident."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from broker.auth.listeners import check_listeners
from broker.cli import main
from broker.options import Options, OptionsError, read_options
from tests.certificates import Authority
from tests.harness import COMMAND, read_line

EVERYBODY = (
    "everybody who reaches {} would be let in: set `users` (or `auth`), or `tls_certificate`"
)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "0:0:0:0:0:0:0:1", "127.1"]
)
def test_on_loopback_a_broker_may_be_open(host: str) -> None:
    check_listeners(Options(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "0", "0x0"]
)
def test_elsewhere_it_may_not(host: str) -> None:
    """However the address is written."""
    with pytest.raises(OptionsError, match=re.escape(EVERYBODY.format(f"{host}:61613"))):
        check_listeners(Options(host=host))
    for more in ("insecure = true", 'users = "u"', 'auth = ["unix"]'):
        check_listeners(read_options(f'host = "{host}"\n{more}', "x"))
    check_listeners(Options(host=host, tls_certificate="c", tls_key="k"))


def test_each_listener_says_so_for_itself() -> None:
    text = 'insecure = true\nhost = "0.0.0.0"\n[[listener]]\nport = 7\nhost = "::"\n'
    with pytest.raises(OptionsError, match=re.escape(EVERYBODY.format(":::7"))):
        check_listeners(read_options(text, "x"))
    check_listeners(read_options(f"{text}insecure = true\n", "x"))


def test_a_name_that_means_nothing() -> None:
    with pytest.raises(OptionsError, match=r"^cannot listen on no\.such\.host\.invalid:61613: "):
        check_listeners(Options(host="no.such.host.invalid"))


def test_administrators_are_nobody_where_logins_are_not_checked() -> None:
    for people in ("alice", "", "*"):
        with pytest.raises(OptionsError, match="nobody checks here"):
            check_listeners(Options(administrators=people))
        check_listeners(Options(administrators=people, users="u"))


def test_what_checkers_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """As Twisted's own commands tell it."""
    with pytest.raises(SystemExit) as ending:
        main(["run", "--help-auth"])
    assert ending.value.code == 0
    told = capsys.readouterr().out
    assert "memory" in told
    assert "unix" in told


def start(directory: Path, config: str, *flags: str) -> subprocess.Popen[str]:
    (directory / "hoof.toml").write_text(config)
    return subprocess.Popen(
        [*COMMAND, "--config", "hoof.toml", "--store", "memory:", *flags],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("config", "flags", "reason"),
    [
        ("", ["--host", "0.0.0.0"], EVERYBODY.format("0.0.0.0:0")),
        ("", ["--users", "users"], "cannot read users: No such file or directory"),
        ("", ["--users", "broken"], "broken, line 2: a line reads NAME:HASH:GROUP,GROUP"),
        ("", ["--auth", "ldap:x"], "auth: unknown 'ldap'; there are: "),
        ('administrators = "alice"\n', [], "administrators are told by their logins"),
    ],
)
def test_what_cannot_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    config: str,
    flags: list[str],
    reason: str,
) -> None:
    """In one line, with status 2; in this process: none of these comes as far as the reactor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("broker.service.tune_process", lambda: None)
    Path("broken").write_text("# first\nalice:secret\n")
    Path("hoof.toml").write_text(config)
    assert main(["run", "--port", "0", "--store", "memory:", "--config", "hoof.toml", *flags]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert errors.startswith(f"hoofbeat: {reason}")
    assert errors.count("\n") == 1
    assert "secret" not in errors


@pytest.mark.parametrize("way", ["insecure", "auth", "tls"])
def test_what_can(tmp_path: Path, way: str) -> None:
    config, flags = "", [f"--{way}"]
    if way == "auth":
        flags += ["memory:a:b", "--auth=memory:c:d"]
    if way == "tls":
        certificate, key = Authority(tmp_path).issue()
        config, flags = f'tls_certificate = "{certificate}"\ntls_key = "{key}"\n', []
    process = start(tmp_path, config, "--host", "0.0.0.0", *flags)
    try:
        assert "ready on stomp" in read_line(process.stdout)
    finally:
        process.kill()
        process.communicate()
