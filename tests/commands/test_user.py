"""`hoofbeat user` as an operator types it: on a terminal, in a script, and with what it does not take."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from broker.auth.passcodes import matches
from broker.auth.users import load
from broker.cli import main
from tests.harness import DEADLINE


@pytest.fixture
def users(tmp_path: Path) -> str:
    return str(tmp_path / "users")


@pytest.fixture(autouse=True)
def _stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("open: sesame\nanother\n"))


def user(users: str, *words: str) -> int:
    try:
        return main(["user", *words, "--users", users])
    except SystemExit as ending:
        return int(ending.code or 0)


def test_the_life_of_a_user(users: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert user(users, "add", "alice", "--group", "admins", "--group", "shops") == 0
    alice = load(users)["alice"]
    assert alice.groups == ("admins", "shops")
    assert matches(alice.hash, "open: sesame")
    assert user(users, "add", "bob", "--no-passcode") == 0
    assert user(users, "groups", "bob", "--group", "x") == 0
    assert user(users, "disable", "alice") == 0
    assert capsys.readouterr() == ("", "")
    assert user(users, "list") == 0
    assert capsys.readouterr().out == "alice  admins,shops  (disabled)\nbob    x  (no passcode)\n"
    assert user(users, "passwd", "alice") == 0  # the next line of standard input
    assert matches(load(users)["alice"].hash, "another")
    assert user(users, "enable", "alice") == 0
    assert user(users, "groups", "alice") == 0
    assert user(users, "remove", "bob") == 0
    assert user(users, "list") == 0
    assert capsys.readouterr().out == "alice  -\n"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["add", "alice"], 1, "there is a user alice already"),
        (["passwd", "bob"], 1, "there is no user bob"),
        (["remove", "bob"], 1, "there is no user bob"),
        (["add", "a:b"], 1, "the name of a user has 1 to 255"),
        (["add", "anonymous"], 1, "'anonymous' is a user of the broker's own"),
        (["add", "bob", "--group", "peers"], 1, "'peers' is a group of the broker's own"),
        (["add"], 2, "add needs a NAME"),
        (["list", "bob"], 2, "list takes no NAME"),
        (["remove", "alice", "--group", "x"], 2, "--group is for add and groups"),
        (["passwd", "alice", "--no-passcode"], 2, "--no-passcode is for add"),
        (["rename", "alice"], 2, "invalid choice: 'rename'"),
        (["add", "bob", "secret"], 2, "unrecognized arguments"),
    ],
)
def test_what_it_does_not_do(
    users: str, words: list[str], status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said in one line; nothing is changed."""
    Path(users).write_text("alice:-:\n")
    assert user(users, *words) == status
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert Path(users).read_text() == "alice:-:\n"


@pytest.mark.parametrize("typed", ["\n", " blank\n", ""])
def test_passcodes_that_cannot_be(
    users: str, typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert user(users, "add", "alice") == 1
    assert "a passcode is not empty" in capsys.readouterr().err
    assert not Path(users).exists()


def test_the_configuration_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hoof.toml").write_text('users = "people"\n')
    assert main(["user", "add", "alice", "--no-passcode", "--config", "hoof.toml"]) == 0
    assert Path("people").read_text() == "alice:-:\n"
    Path("hoof.toml").write_text("")
    assert main(["user", "list", "--config", "hoof.toml"]) == 2
    assert "hoof.toml: users is not set" in capsys.readouterr().err
    assert main(["user", "list", "--config", "missing.toml"]) == 2
    with pytest.raises(SystemExit):
        main(["user", "list"])


@pytest.mark.parametrize("second", ["open sesame", "open simsim"])
def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(users: str, second: str) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "user", "add", "alice", "--users", users],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        for prompt, answer in ((b"Passcode of alice: ", "open sesame"), (b"Once more: ", second)):
            seen += read_until(terminal, prompt)
            os.write(terminal, f"{answer}\n".encode())
        is_same = second == "open sesame"
        assert process.wait(DEADLINE) == (0 if is_same else 1)
        assert Path(users).exists() is is_same
        if not is_same:
            seen += read_until(terminal, b"the two are not the same")
        assert b"sesame" not in seen
    finally:
        process.kill()
        os.close(terminal)


def read_until(terminal: int, text: bytes) -> bytes:
    """Return what is shown, to the end of a text."""
    seen, end = b"", monotonic() + DEADLINE
    while text not in seen:
        assert select.select([terminal], [], [], max(0.0, end - monotonic()))[0], seen
        seen += os.read(terminal, 1024)
    return seen
