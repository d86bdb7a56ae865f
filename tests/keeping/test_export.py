"""`hoofbeat export` and `import`: nothing is lost on the way, people can read it, and it is all or nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from broker.core.message import Message
from broker.keeping.lines import Decoder, Line, encode, line_of, row_of
from broker.store import UNFINISHED, StoreError
from broker.store.tools import AHEAD
from broker.tail import new_tail
from tests.commands.conftest import Command, Shell
from tests.harness import DEADLINE, BrokerProcess
from tests.keeping.conftest import (
    LARGE,
    LMDB,
    SETTINGS_OF_ALL,
    SQLITE,
    everything,
    filled,
    look,
    wait_until,
)
from tests.scenarios.administrator import Administrator
from tests.scenarios.steps import bodies, drain, put, subscribe, take

Start = Callable[..., BrokerProcess]

META = Message(1, b"", durable=True).meta()
HEAD = {
    "type": "hoofbeat",
    "format": 1,
    "version": "0.1.0",
    "node": "c0ffee00",
    "boot": 3,
    "next_seq": 100,
    "clean": True,
    "written": "2026-01-01T00:00:00+00:00",
}
QUEUE = {"type": "queue", "number": 1, "name": "orders", "lanes": {"4": 1}}
RECORD = {
    "type": "record",
    "queue": "orders",
    "priority": 4,
    "seq": 7,
    "headers": {"message-id": "m-7", "color": "red"},
    "body": "hello",
}
END = {"type": "end"}


def written(*lines: dict[str, Any]) -> str:
    """Return lines as a file has them."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_there_and_back_nothing_is_lost(shell: Shell, full: str, tmp_path: Path) -> None:
    there, back = SQLITE, "lmdb:back"
    before = everything(full, tmp_path)
    exports = []
    for source, target in ((full, there), (there, back)):
        exported = shell("export", "--store", source)
        assert (exported.status, exported.errors) == (0, "")
        imported = shell("import", "--store", target, given=exported.out)
        assert (imported.status, imported.errors) == (0, "")
        assert everything(target, tmp_path) == before
        assert shell("check", "--store", target).status == 0
        exports.append(exported.out.split("\n", 1)[1])
    assert exports[0] == exports[1]
    with closing(look(back, tmp_path)) as seen:
        assert seen.load().boot == 1 + 2 * (AHEAD + 1)
    assert '64":' not in "".join(
        line for line in exports[0].splitlines() if '"large"' not in line and "mark" not in line
    )


def test_a_person_can_read_it(shell: Shell, full: str) -> None:
    lines = [json.loads(line) for line in shell("export").out.splitlines()]
    head, end = lines[0], lines[-1]
    assert (head["type"], head["format"], head["clean"]) == ("hoofbeat", 1, False)
    assert end == {"type": "end"}
    [urgent] = [line for line in lines if line.get("body") == "urgent"]
    assert (urgent["queue"], urgent["priority"]) == ("plain", 9)
    assert urgent["headers"]["color"] == "r:e\nd\\"
    assert urgent["headers"]["größe"] == "ü"
    [large, _] = [line for line in lines if line.get("queue") == "large"]
    assert base64.b64decode(large["body64"]) == LARGE
    [daily] = [line for line in lines if line.get("body") == "daily"]
    assert daily["due"]["cron"] == "0 3 * * *"
    assert daily["due"]["destination"] == "/queue/later"
    [noted] = [line for line in lines if line.get("queue") == "\0log/prices" and "note" in line]
    assert noted["note"]["priority"] == 7
    assert not noted["note"]["persistent"]
    [job] = [line for line in lines if line.get("queue") == "jobs"]
    assert job["report"]
    [closing_] = [line for line in lines if line.get("closes_group")]
    assert (closing_["group"], closing_["body"]) == ("g", "2")


def test_a_broker_goes_on_with_it_in_another_store(
    shell: Shell, start: Start, full: str, tmp_path: Path
) -> None:
    assert shell("export", "file").status == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert shell("import", "--store", SQLITE, "file").status == 0
    broker = start(SQLITE, **SETTINGS_OF_ALL)
    with broker.connect(**{"client-id": "c"}) as client:
        drained = drain(client, "/queue/plain")
        assert drained == [b"urgent", *(b"%d" % n for n in range(1500))]
        assert drain(client, "/queue/large")[0] == LARGE
        put(client, "/queue/once", b"a second time", dedup_id="d-1")
        assert drain(client, "/queue/once") == [b"once"]
        name = {"activemq.subscriptionName": "all"}
        subscribe(client, "/topic/prices", id="all", ack="client-individual", **name)
        prices = take(client, 2)
        assert sorted(bodies(prices)) == [b"2", b"3"]
        assert {frame.headers["redelivered"] for frame in prices} == {"true"}
    with broker.connect() as client:
        ask = Administrator(client).call
        assert ask("schedule")["total"] == 2
        assert ask("tracked", "j-2")["status"] == "PROCESSED"
        assert [peer["paused"] for peer in ask("peers")] == [True]


def test_while_the_broker_runs(shell: Shell, start: Start, tmp_path: Path) -> None:
    with start().connect() as client:
        put(client, "/queue/a", b"1")
        exported = shell("export").out
        put(client, "/queue/a", b"2")
        assert shell("import", "--data", "other", given=exported).status == 0
        assert drain(client, "/queue/a") == [b"1", b"2"]
    with start("lmdb:other").connect() as client:
        assert drain(client, "/queue/a") == [b"1"]


def test_what_was_closed_in_order_stays_so(shell: Shell, tmp_path: Path) -> None:
    filled(LMDB, tmp_path, (1, 4, 1, META, new_tail(b"1", {}, b"x")))
    assert shell("import", "--store", SQLITE, given=shell("export").out).status == 0
    assert everything(SQLITE, tmp_path) == everything(LMDB, tmp_path)
    assert everything(SQLITE, tmp_path)[2][2]


def test_what_the_core_cannot_read_is_carried_as_it_is(shell: Shell, tmp_path: Path) -> None:
    """Also what a later version, or damage, has made of it."""
    odd = (b"", b"\x09meta", META, META + b"\xff", META[:-1], b"\2\x80" + bytes(9))
    rows = [(1, 4, 1 + n, meta, b"tail %d" % n) for n, meta in enumerate(odd)]
    rows += [(1, 4, 50, META, b"message-id:1\n\ncontent-length:9\n\nx\0\n")]
    rows += [(1, 4, 51, META, b"message-id:1\na:1\na:2\ncontent-length:0\n\n\0\n")]
    filled(LMDB, tmp_path, *rows)
    assert shell("import", "--store", SQLITE, given=shell("export").out).status == 0
    assert everything(SQLITE, tmp_path)[0] == everything(LMDB, tmp_path)[0]


def test_records_of_the_first_format_become_those_of_today() -> None:
    tail = new_tail(b"1", {"a": "b"}, b"x")
    first = b"\1" + META[1:]
    line = line_of("orders", 4, 1, first, tail)
    assert line.headers == {"message-id": "1", "a": "b"}
    assert row_of(line) == (4, 1, META, tail)


def test_every_line_is_read_as_it_was_written() -> None:
    line = Line("q", 4, 1, retain="this", headers={"message-id": "ü\n:"}, body64=b"\xff")
    assert Decoder().decode(encode(line)) == line
    assert line_of("q", 4, 1, *row_of(line)[2:]) == line


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_what_is_there_is_not_touched(
    shell: Shell, start: Start, tmp_path: Path, store: str
) -> None:
    filled(store, tmp_path, (1, 4, 1, META, new_tail(b"1", {}, b"x")))
    before = everything(store, tmp_path)
    result = shell("import", "--store", store, given=written(HEAD, QUEUE, RECORD, END))
    assert result.status == 2
    assert f"there is a store already: {store}" in result.errors
    assert everything(store, tmp_path) == before


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "line 1: the file ends before its last line"),
        ((QUEUE,), "line 1: this is no export of hoofbeat"),
        (({"letter": "to my aunt"},), "line 1: Object missing required field `type`"),
        ((HEAD | {"format": 2},), "line 1: an export of format 2; this version reads format 1"),
        ((HEAD | {"next_seq": 0},), "line 1: node, boot or next_seq cannot be"),
    ],
)
def test_what_cannot_begin_leaves_nothing(
    shell: Shell, tmp_path: Path, lines: tuple[dict[str, Any], ...], reason: str
) -> None:
    result = shell("import", given=written(*lines))
    assert (result.status, result.out) == (2, "")
    assert reason in result.errors
    assert result.errors.count("\n") == 1
    assert not (tmp_path / "data").exists()


WRONG: list[tuple[tuple[dict[str, Any], ...], str]] = [
    ((HEAD, QUEUE, RECORD), "line 4: the file ends before its last line, it is not complete"),
    ((HEAD, RECORD), "line 2: no line before says that there is a queue 'orders'"),
    ((HEAD, QUEUE, RECORD, RECORD), "line 4: seq 7 comes behind 7 of the same queue and priority"),
    ((HEAD, QUEUE, RECORD | {"seq": "7"}), "line 3: Expected `int`, got `str` - at `$.seq`"),
    ((HEAD, QUEUE, RECORD | {"colour": 1}), "line 3: Object contains unknown field `colour`"),
    ((HEAD, QUEUE, RECORD | {"priority": 10}), "line 3: priority is 0 to 9"),
    ((HEAD, QUEUE, RECORD | {"group": "g" * 300}), "line 3: priority is 0 to 9"),
    ((HEAD, QUEUE, RECORD | {"body64": ""}), "line 3: there must be body or body64, and not both"),
    ((HEAD, QUEUE, QUEUE), "line 3: another queue is called 'orders'"),
    ((HEAD, QUEUE | {"number": 0}), "line 2: no queue can have the number 0"),
    ((HEAD, HEAD), "line 2: a second head"),
    ((HEAD, {"type": "mark", "key": "", "value": ""}), "line 2: a mark's key has 1 to 400 bytes"),
    (
        (HEAD, {"type": "mark", "key": UNFINISHED.decode(), "value": ""}),
        "line 2: what was exported is an import that was broken off",
    ),
]


@pytest.mark.parametrize(("lines", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_what_is_wrong_is_said_with_its_line(
    shell: Shell, lines: tuple[dict[str, Any], ...], reason: str
) -> None:
    result = shell("import", given=written(*lines))
    assert (result.status, result.out) == (1, "")
    assert reason in result.errors
    assert "remove lmdb:./data" in result.errors
    assert result.errors.count("\n") == 1


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_a_broker_does_not_begin_with_an_import_that_was_killed(
    shell: Shell, tmp_path: Path, store: str
) -> None:
    records = [RECORD | {"seq": seq} for seq in range(1, 3000)]
    with Command(shell, "import", "--store", store) as command:
        command.write(written(HEAD, QUEUE, *records))
        wait_until(lambda: bool(records_in(store, tmp_path)))
        command.kill()
    assert 0 < records_in(store, tmp_path) < 3000
    run = shell("run", "--port", "0", "--store", store)
    assert run.status == 2
    assert f"an import into {store} was broken off: remove it first" in run.errors
    assert shell("check", "--store", store).status == 1
    again = shell("import", "--store", store, given=written(HEAD, END))
    assert again.status == 2
    assert "was broken off: remove it first" in again.errors


def records_in(store: str, directory: Path) -> int:
    """Return how many records are in a store, 0 as long as there is none."""
    with suppress(StoreError), closing(look(store, directory)) as seen:
        return sum(sum(queue.lanes.values()) for queue in seen.load().queues)
    return 0


def test_who_has_enough_of_the_output(shell: Shell, full: str) -> None:
    """As `| head -1` has."""
    with shell.start("export") as process:
        assert process.stdout is not None
        assert '"hoofbeat"' in process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_memory_is_flat(shell: Shell, tmp_path: Path) -> None:
    """120 MB pass through processes that keep far less."""
    tail = new_tail(b"1", {}, b"x" * 40_000)
    filled(SQLITE, tmp_path, *((1, 4, seq, META, tail) for seq in range(1, 1500)))
    code = (
        "import resource, sys\n"
        "from broker.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):\n"
        "    print(resource.getrusage(who).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(status)"
    )
    exported = shell.run(code, "export", "--store", SQLITE, "file")
    assert exported.status == 0
    assert (tmp_path / "file").stat().st_size > 60_000_000
    imported = shell.run(code, "import", "--store", "sqlite:other.db", "file")
    assert imported.status == 0
    assert records_in("sqlite:other.db", tmp_path) == 1499
    for result in (exported, imported):
        assert max(map(int, result.errors.split())) < 90_000  # kB
