"""`hoofbeat check`: what is whole is told so, what is not is found, and no damage ends it but with a word."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from broker.core.message import Message
from broker.keeping.check import all_faults
from broker.keeping.soundness import Soundness
from broker.tail import new_tail
from tests.commands.conftest import Result, Shell
from tests.harness import BrokerProcess
from tests.keeping.conftest import LMDB, SETTINGS_OF_ALL, SQLITE, everything, filled, look
from tests.scenarios.steps import put

Start = Callable[..., BrokerProcess]

LARGE = b"x" * 100_000  # two pieces
META = Message(1, b"", durable=True).meta()


def record(seq: int, body: bytes = b"body") -> tuple[int, int, int, bytes, bytes]:
    """Return a record of queue 1 as a broker makes it."""
    return 1, 4, seq, META, new_tail(b"id-%d" % seq, {"n": str(seq)}, body)


RECORDS = [record(1), record(2, LARGE), *(record(seq) for seq in range(3, 200))]


def faults(result: Result) -> list[str]:
    """Return what was said to be wrong; the verdict must fit, and nothing else be said."""
    found = [line[7:] for line in result.out.splitlines() if line.startswith("wrong: ")]
    verdict = result.out.splitlines()[-1]
    if (
        result.status == 1 and result.errors
    ):  # it died of what it read, perhaps with LMDB's last words
        assert "is not whole: reading it has killed the process" in result.errors.splitlines()[-1]
        assert result.errors.count("\n") <= 2
        return [result.errors]
    assert result.errors == ""
    assert (result.status, verdict[:5]) == ((1, "not w") if found else (0, "whole"))
    return found


def faults_in(store: str, directory: Path) -> list[str]:
    """Return the same without a process."""
    with closing(look(store, directory)) as seen:
        return [*all_faults(seen, Soundness(seen))]


def test_a_store_with_everything_is_whole(shell: Shell, full: str, tmp_path: Path) -> None:
    before = everything(full, tmp_path)
    content = (tmp_path / "data" / "data.mdb").read_bytes()
    result = shell("check", "--data", "data")
    assert faults(result) == []
    assert result.out.splitlines()[1:-1] == [
        "2 durable subscriptions",
        "1 ends of tracked messages",
        "1 ids of messages that came before (dedup-id)",
        "1 ledgers of other brokers",
        "3 messages for durable subscriptions",
        "1 messages for other brokers",
        "1510 messages in queues",
        "2 scheduled messages",
        "2 statuses of tracked messages",
    ]
    assert (tmp_path / "data" / "data.mdb").read_bytes() == content
    assert everything(full, tmp_path) == before


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_a_broker_may_have_it_open(shell: Shell, start: Start, store: str) -> None:
    broker = start(store)
    with broker.connect() as client:
        put(client, "/queue/a", *[b"x"] * 20)
        for _ in range(2):
            result = shell("check", "--store", store)
            assert faults(result) == []
            assert "20 messages in queues" in result.out
        put(client, "/queue/a", b"goes on")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--data", "nothing"), "there is no nothing/data.mdb"),
        (("--store", "sqlite:nothing.db"), "there is no nothing.db"),
        (("--store", "memory:"), "in its broker only"),
        (("--store", "aunt:x"), "drivers here: lmdb, memory, sqlite"),
        (("--config", "nothing.toml"), "cannot read nothing.toml"),
        (("--store", "sqlite:letter.db"), "format none"),
    ],
)
def test_what_cannot_be_looked_at(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "letter.db")) as db:
        db.execute("CREATE TABLE aunt (letter TEXT)")
    result = shell("check", *words)
    assert (result.status, result.out) == (2, "")
    assert reason in result.errors
    assert result.errors.count("\n") == 1


# Damage that leaves the database's own pages in order.


@contextmanager
def opened(directory: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that does something in one of the databases of `data`."""
    with lmdb.open(str(directory / "data"), max_dbs=8) as env, env.begin(write=True) as txn:
        yield lambda verb, name, *rest: getattr(txn, verb)(
            *rest, db=env.open_db(name, txn=txn, create=False)
        )


KEY = struct.pack(">IBQ", 1, 5, 3)
RECORD_3 = b"\0%c%b%b" % (len(META), META, record(3)[4])
WHAT = b'{"format": 1, "client_id": "c", "name": "n", "topic": "t", "selector": "", "no_local": false, "shared": false, "created": 1}'

DAMAGE: list[tuple[tuple[Any, ...], str]] = [
    (("put", b"lane", KEY[:5], struct.pack(">Q", 5)), "199 records, and 5 are counted"),
    (("delete", b"lane", KEY[:5]), "199 records lie in lane 4 of queue 1, which is not there"),
    (("delete", b"chunk", struct.pack(">QH", 2, 0)), "record 2: piece 0 of its tail is missing"),
    (("delete", b"chunk", struct.pack(">QH", 2, 1)), "record 2: its tail has 61424 bytes of"),
    (("put", b"chunk", struct.pack(">QH", 3, 0), b"x"), "record 3, which is not there"),
    (("put", b"chunk", b"short", b"x"), "a key has 5 bytes, not 10"),
    (("put", b"record", struct.pack(">IBQ", 7, 5, 9), RECORD_3), "lane 4 of queue 7"),
    (("put", b"record", KEY, b"\7" + RECORD_3[1:]), "of no known kind: 7"),
    (("put", b"record", KEY, b"\0"), "record 3 of queue 1 is too short"),
    (("put", b"record", KEY, RECORD_3[:2] + b"\x09" + RECORD_3[3:]), "record of format 9"),
    (("put", b"record", KEY, RECORD_3[:-3] + b"\0\n"), "the body has 3 bytes, and should have 4"),
    (("put", b"record", KEY, RECORD_3.replace(b"message-id", b"massage-id")), "begins with its id"),
    (("put", b"queue", struct.pack(">I", 2), b"orders"), "the one of another: 'orders'"),
    (("put", b"queue", struct.pack(">I", 1), b"\xff"), "queue 1: its name is no UTF-8"),
    (("put", b"meta", b"next_seq", b"10"), "number 10: it will be given again, next is 10"),
    (("put", b"meta", b"boot", b"x"), "boot is no number"),
    (("delete", b"meta", b"node"), "node is missing"),
    (("put", b"mark", b"durable/1/what", WHAT), "nothing says how far it has come"),
    (("put", b"mark", b"durable/1/what", b"{"), "it is cut off"),
    (("put", b"mark", b"durable/1/progress", b"\1"), "it is cut off"),
    (("put", b"mark", b"durable-log/4", bytes(8)), "about a log that is not there"),
    (("put", b"mark", b"peer x", b'{"paused": 1}'), "paused cannot be 1"),
    (("put", b"mark", b"peer x", b"{}"), "'paused' is missing"),
    (("put", b"mark", b"unfinished import", b""), "was broken off"),
]


@pytest.mark.parametrize(("change", "said"), DAMAGE, ids=[said for _, said in DAMAGE])
def test_what_does_not_fit_is_found(tmp_path: Path, change: tuple[Any, ...], said: str) -> None:
    filled(LMDB, tmp_path, *RECORDS)
    with opened(tmp_path) as do:
        do(*change)
    found = faults_in(LMDB, tmp_path)
    assert any(said in fault for fault in found), found


def test_a_missing_database(shell: Shell, tmp_path: Path) -> None:
    filled(LMDB, tmp_path, *RECORDS)
    with lmdb.open(str(tmp_path / "data"), max_dbs=8) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"chunk", txn=txn))
    assert faults(shell("check", "--data", "data")) == ["data/data.mdb: no database chunk"]


def test_two_records_of_one_number(shell: Shell, tmp_path: Path) -> None:
    filled(LMDB, tmp_path, record(1), (1, 5, 1, META, record(1)[4]))
    [fault] = faults(shell("check", "--data", "data"))
    assert "priority 5, number 1: another record has it" in fault


def test_many_faults_are_counted(shell: Shell, tmp_path: Path) -> None:
    filled(LMDB, tmp_path, *((1, 4, seq, META, b"nonsense") for seq in range(1, 1503)))
    result = shell("check", "--data", "data")
    assert len(faults(result)) == 1000
    assert result.out.splitlines()[-3:] == [
        "and 502 more",
        "1502 messages in queues",
        "not whole: 1502 faults",
    ]


# Damage to the file.


def spoil(file: Path, how: str, number: random.Random) -> None:
    """Damage a file, somewhere."""
    data = bytearray(file.read_bytes())
    if how == "cut":
        del data[number.randrange(1, len(data)) :]
    elif how == "bit":
        for _ in range(3):
            data[number.randrange(len(data))] ^= 1 << number.randrange(8)
    elif how == "page":
        start = number.randrange(len(data) // 4096) * 4096
        data[start : start + 4096] = number.randbytes(4096)
    file.write_bytes(data)


@pytest.mark.parametrize("store", [LMDB, SQLITE])
@pytest.mark.parametrize("how", ["cut", "bit", "page"])
def test_no_damage_ends_it_without_a_word(
    shell: Shell, tmp_path: Path, store: str, how: str
) -> None:
    filled(store, tmp_path, *(record(seq) for seq in range(1, 1000)))
    file = tmp_path / ("data/data.mdb" if store == LMDB else "files/hoof.db")
    whole = file.read_bytes()
    found = 0
    for seed in range(6):
        file.write_bytes(whole)
        spoil(file, how, random.Random(seed))
        result = shell("check", "--store", store)
        assert "Traceback" not in result.errors
        if result.status == 2:  # not even that it is a store can be seen
            assert result.errors.count("\n") == 1
            found += 1
        else:
            found += bool(faults(result))
    assert found >= {"cut": 5, "page": 4, "bit": 0}[how]


@pytest.mark.parametrize("command", ["backup", "export", "compact"])
def test_other_commands_say_that_it_is_not_whole(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    filled(LMDB, tmp_path, *RECORDS)
    file = tmp_path / "data" / "data.mdb"
    with file.open("r+b") as data:
        data.truncate(8 * 4096)
    result = shell(command, "--data", "data", *["copy"] * (command != "compact"))
    assert result.status == 1
    assert "is not whole: reading it has killed the process (SIGBUS)" in result.errors
    assert result.errors.count("\n") == 1
    assert file.stat().st_size == 8 * 4096
    assert not (tmp_path / "copy" / "data.mdb").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE lane SET records = 7", "there are 199 records, and 7 are counted"),
        ("DELETE FROM lane", "199 records lie in lane 4 of queue 1"),
        ("DELETE FROM queue", "a lane belongs to queue 1, which is not there"),
        ("UPDATE record SET tail = 'text' WHERE seq = 9", "record 9 of queue 1 is not made of"),
        ("UPDATE record SET meta = x'0900' WHERE seq = 9", "number 9: message record of format 9"),
    ],
)
def test_what_does_not_fit_in_sqlite(shell: Shell, tmp_path: Path, change: str, said: str) -> None:
    filled(SQLITE, tmp_path, *RECORDS)
    with closing(sqlite3.connect(tmp_path / "files" / "hoof.db")) as db:
        db.execute(change)
        db.commit()
    assert any(said in fault for fault in faults_in(SQLITE, tmp_path))


def test_a_missing_table(shell: Shell, tmp_path: Path) -> None:
    filled(SQLITE, tmp_path, *RECORDS)
    with closing(sqlite3.connect(tmp_path / "files" / "hoof.db")) as db:
        db.execute("DROP TABLE lane")
    assert faults(shell("check", "--store", SQLITE)) == ["files/hoof.db: what is missing is lane"]


def test_the_settings_say_where(shell: Shell, start: Start, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('store = "sqlite:files/hoof.db"\n')
    start(SQLITE, **SETTINGS_OF_ALL).kill()
    result = shell("check", "--config", "own.toml")
    assert faults(result) == []
    assert result.out.startswith("looking at sqlite:files/hoof.db\n")


def test_export_and_import_repair_what_can_be_repaired(shell: Shell, tmp_path: Path) -> None:
    filled(LMDB, tmp_path, *RECORDS, (1, 4, 500, b"\x09", b"nonsense"))
    with opened(tmp_path) as do:
        do("put", b"lane", KEY[:5], struct.pack(">Q", 5))
    assert shell("check").status == 1
    exported = shell("export").out.splitlines(keepends=True)
    given = "".join(line for line in exported if "meta64" not in line)
    assert shell("import", "--store", SQLITE, given=given).status == 0
    repaired = shell("check", "--store", SQLITE)
    assert (faults(repaired), "199 messages in queues" in repaired.out) == ([], True)
