"""`hoofbeat backup`: a moment of a broker that goes on; and what is started on the copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broker.store.tools import AHEAD
from tests.commands.conftest import Command, Shell
from tests.harness import BrokerProcess, Client
from tests.keeping.conftest import LMDB, SETTINGS_OF_ALL, SQLITE, everything, look
from tests.scenarios.steps import drain, put

Start = Callable[..., BrokerProcess]

COPIES = {LMDB: "lmdb:copy", SQLITE: "sqlite:copy/hoof.db"}
BEFORE = 500  # messages before a backup begins
AT_ONCE = 50


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_what_was_confirmed_before_it_began_is_in_it(
    shell: Shell, start: Start, tmp_path: Path, store: str
) -> None:
    broker = start(store)
    with broker.connect() as client:
        put(client, "/queue/a", *[b"%d" % n for n in range(BEFORE)])
        with Command(shell, "backup", "--store", store, "copy") as command:
            sent = go_on_until_it_ends(client, command)
        put(client, "/queue/a", b"later")
    broker.kill()

    with start(COPIES[store]).connect() as client:
        found = [int(body) for body in drain(client, "/queue/a")]
    assert found == list(range(len(found)))  # a moment: nothing is there without what was before it
    assert BEFORE <= len(found) <= sent


def go_on_until_it_ends(client: Client, command: Command) -> int:
    """Send more and more messages while a command runs; return how many there are."""
    sent = BEFORE
    while command.running():
        put(client, "/queue/a", *[b"%d" % n for n in range(sent, sent + AT_ONCE)])
        sent += AT_ONCE
    assert command.wait() == 0
    return sent


def test_everything_is_in_it_and_its_numbers_are_ahead(
    shell: Shell, full: str, tmp_path: Path
) -> None:
    result = shell("backup", "copy")
    assert (result.status, result.errors) == (0, "")
    assert re.match(r"lmdb:copy has 1[67] queues, \d+ records\n", result.out)
    assert everything("lmdb:copy", tmp_path) == everything(full, tmp_path)
    starts = []
    for store in (full, "lmdb:copy"):
        with closing(look(store, tmp_path)) as seen:
            starts.append(seen.load().boot)
    assert starts == [1, 1 + AHEAD]
    assert shell("check", "--data", "copy").status == 0
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "copy" / "data.mdb").stat().st_mode & 0o777 == 0o600


def test_what_waits_for_a_peer_has_higher_numbers_in_a_restored_broker(
    start: Start, shell: Shell, full: str, tmp_path: Path
) -> None:
    """The original went on and gave numbers of its own: a peer would take the same ones for what has come."""
    assert shell("backup", "copy").status == 0
    numbers = []
    for store in (full, "lmdb:copy"):
        broker = start(store, **SETTINGS_OF_ALL)
        with broker.connect() as client:
            put(client, "/peer/there/queue/far", b"1", b"2")
        broker.kill()
        rows, _, _ = everything(store, tmp_path)
        numbers.append([row[2] for row in rows if row[0].endswith("peer there")])
    original, restored = numbers
    assert original[0] == restored[0]  # that of the backup, once for both
    assert max(original) < restored[1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("full",), "full is not empty"),
        (("file",), "cannot use file: Not a directory"),
        (("copy", "--data", "nothing"), "there is no nothing/data.mdb"),
        (("copy", "--store", "memory:"), "ends with it"),
        ((), "the following arguments are required: DIR"),
    ],
)
def test_what_cannot_be_done(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    (tmp_path / "file").touch()
    result = shell("backup", *words)
    assert (result.status, result.out) == (2, "")
    assert reason in result.errors
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_a_disk_that_is_full(shell: Shell, start: Start, tmp_path: Path, store: str) -> None:
    """Nothing is left that looks like a backup."""
    broker = start(store)
    with broker.connect() as client:
        put(client, "/queue/a", b"x" * 200_000)
    code = (
        "import resource, sys\n"
        "from broker.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    result = shell.run(code, "backup", "copy", "--store", store)
    assert result.status == 1
    assert "cannot copy" in result.errors
    assert result.errors.count("\n") == 1
    assert [path.name for path in (tmp_path / "copy").iterdir()] == []
