"""Figures: medians, percentiles, shares, what a measurement's clock counts, and the form of the JSON."""

from __future__ import annotations

import io
import json
import os
import socket
from dataclasses import replace

import pytest

from broker.bench import rows, timing
from broker.bench.checks import MeasurementError
from broker.bench.figures import Collected, failures, figure, machine, median_if_known
from broker.bench.generator import KINDS
from broker.bench.measure import PECULIAR, Plan, steps
from broker.bench.numbered import number
from broker.bench.process import ProcessError, cpu_seconds, listening_process, memory
from broker.bench.targets import Ceiling, Fresh
from broker.bench.timing import Latencies, Result, drive, percentile
from broker.bench.wire import Loop

RESULT = Result(
    "plain",
    operations=1000,
    seconds=2.0,
    latency=(1.0, 5.0, 9.0),
    cpu_generator=0.5,
    cpu_target=1.5,
    stolen=0.0,
)


# --- statistics -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (49, 49), (50, 50), (50.5, 51), (99, 99), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: int) -> None:
    """The smallest that at least so many percent do not exceed; the order of arrival is nothing to it."""
    assert percentile([float(each) for each in range(100, 0, -1)], percent) == value


@pytest.mark.parametrize("percent", [0, 50, 99, 100])
def test_every_percentile_of_one_value_is_that_value(percent: float) -> None:
    assert percentile([7.0], percent) == 7.0


def test_rates_are_medians_of_the_rounds_and_max_is_the_largest() -> None:
    rounds = [
        replace(RESULT, operations=400, latency=(1.0, 2.0, 3.0)),
        replace(RESULT, operations=100, latency=(9.0, 8.0, 99.0)),
        replace(RESULT, operations=200, latency=(5.0, 7.0, 8.0), note="last"),
    ]
    found = figure(rounds, ceiling=[])
    assert found["rate"] == 100.0
    assert found["share"] is None
    assert found["latency_ms"] == {"p50": 5.0, "p99": 7.0, "max": 99.0}
    assert found["rounds"] == [200.0, 50.0, 100.0]
    assert found["operations"] == 700
    assert found["cpu_seconds"] == {"target": 1.5, "generator": 0.5, "stolen": 0.0}
    assert found["note"] == "last"


def test_the_share_is_the_median_of_the_rounds_own_shares() -> None:
    """A machine that is slow in one round is slow for both; the medians would come from different rounds."""
    rates, ceilings = (100, 200, 50), (1000, 1600, 200)
    rounds = [replace(RESULT, operations=rate) for rate in rates]
    ceiling = [replace(RESULT, operations=rate) for rate in ceilings]
    assert figure(rounds, ceiling)["share"] == pytest.approx(0.125)  # of 0.1, 0.125 and 0.25
    assert figure(rounds[:2], ceiling)["share"] == pytest.approx((0.1 + 0.125) / 2)


def test_a_failure_in_any_round_is_the_figure_s_failure() -> None:
    rounds = [replace(RESULT, skipped="it cannot"), replace(RESULT, failure="2 of 5 never came")]
    found = figure([RESULT, *rounds], ceiling=[])
    assert found == {"failure": "2 of 5 never came", "rounds": [500.0, 500.0, 500.0]}


def test_what_a_broker_cannot_do_is_no_figure_and_no_failure() -> None:
    found = figure([replace(RESULT, operations=0, skipped="it cannot"), RESULT], ceiling=[])
    assert found == {"skipped": "it cannot", "rounds": [0.0, 500.0]}
    assert failures(collected(replace(RESULT, skipped="it cannot")).as_rows()) == []


def test_what_is_not_known_is_none() -> None:
    found = figure([replace(RESULT, latency=None, cpu_target=None, stolen=None)], ceiling=[])
    assert (found["share"], found["latency_ms"]) == (None, None)
    assert found["cpu_seconds"] == {"target": None, "generator": 0.5, "stolen": None}
    assert median_if_known([3.0, 1.0, 2.0]) == 2.0
    assert median_if_known([3.0, None, 2.0]) is None


# --- the JSON -------------------------------------------------------------------------------------


def collected(*results: Result, ceiling: float = 1000.0, broken: str = "") -> Collected:
    """Return what was found of a broker beside a ceiling, in the order in which it came."""
    chosen = rows.select(["plain", "fill"])
    found = Collected(chosen, [Ceiling("copying"), Fresh("hoofbeat")])
    found.add(found.targets[1], list(results))
    copied = Result("plain", operations=int(ceiling * 2), seconds=2.0, failure=broken)
    found.add(found.targets[0], [copied])
    return found


def test_rows_are_ready_for_json_with_the_ceiling_first() -> None:
    [plain] = collected(RESULT).as_rows()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["name"], plain["title"], plain["unit"]) == ("plain", "plain messages", "messages")
    assert plain["ceiling"] is True
    assert list(plain["figures"]) == ["copying", "hoofbeat"]
    assert plain["figures"]["copying"]["share"] is None
    assert plain["figures"]["hoofbeat"]["share"] == 0.5
    assert set(plain["figures"]["hoofbeat"]) == {
        "rate",
        "share",
        "latency_ms",
        "seconds",
        "operations",
        "cpu_seconds",
        "rounds",
        "note",
    }


def test_a_row_may_have_several_results() -> None:
    found = collected(replace(RESULT, row="drain"), replace(RESULT, row="fill")).as_rows()
    assert [row["name"] for row in found] == ["plain", "fill", "drain"]
    assert [list(row["figures"]) for row in found[1:]] == [["hoofbeat"], ["hoofbeat"]]
    assert [row["ceiling"] for row in found] == [True, False, False]


def test_without_a_ceiling_there_is_no_share() -> None:
    [plain] = collected(RESULT, broken="it broke").as_rows()
    assert plain["figures"]["copying"]["failure"] == "it broke"
    assert plain["figures"]["hoofbeat"]["share"] is None


def test_a_failure_is_listed_with_its_row_and_target() -> None:
    assert failures(collected(RESULT).as_rows()) == []
    failed = collected(RESULT, replace(RESULT, failure="1 lost")).as_rows()
    assert failures(failed) == ["plain, hoofbeat: 1 lost"]


def test_the_machine_is_described() -> None:
    found = machine()
    assert set(found) == {"processor", "cores", "system", "python"}
    assert found["cores"] >= 1
    assert json.dumps(found)


# --- which measurements ---------------------------------------------------------------------------


def test_targets_take_turns_row_by_row_and_round_by_round() -> None:
    copying, hoofbeat = targets = [Ceiling("copying"), Fresh("hoofbeat")]
    todo = steps(Plan(rows.select(["durable", "plain"]), rounds=2), list(targets))
    assert [(step.row.name, step.round, step.target) for step in todo] == [
        ("durable", 0, hoofbeat),  # what waits for a disk has no ceiling
        ("durable", 1, hoofbeat),
        ("plain", 0, copying),
        ("plain", 0, hoofbeat),
        ("plain", 1, copying),
        ("plain", 1, hoofbeat),
    ]


def test_every_row_can_be_measured() -> None:
    assert {row.kind for row in rows.ROWS} <= KINDS.keys() | PECULIAR.keys()
    names = [name for row in rows.ROWS for name, _ in row.results()]
    assert len(names) == len(set(names))
    assert [row.name for row in rows.select(["plain", "reqrep"])] == ["reqrep", "plain"]
    with pytest.raises(KeyError, match="nothing"):
        rows.select(["plain", "nothing"])


# --- latencies and the clock ----------------------------------------------------------------------


class Clock:
    """A time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.perf_counter", made.perf_counter)
    return made


def test_latencies_are_sampled_from_sending_to_answer(clock: Clock) -> None:
    """In milliseconds; only what was sent while the clock runs counts."""
    latencies = Latencies(every=4)
    latencies.sent(0, 4)
    latencies.counting = True
    latencies.sent(5, 13)  # 8 and 12 are sampled
    clock.now += 0.002
    latencies.came([number(0), number(7), number(8)])
    clock.now += 0.004
    latencies.counting = False
    latencies.sent(16, 17)
    latencies.came([number(12), number(16)])
    assert latencies.percentiles() == pytest.approx((2.0, 6.0, 6.0))


def test_without_samples_there_are_no_latencies() -> None:
    assert Latencies(every=1).percentiles() is None


class Counting:
    """A load that does ten operations a turn, and owes `owed` of them for ever."""

    def __init__(self, clock: Clock, owed: int = 0, total: int | None = None) -> None:
        self.latencies = Latencies(1)
        self.done = 0
        self.owed = owed
        self.total = total
        self.clock = clock
        self.turns: list[bool] = []

    def turn(self, sending: bool) -> bool:
        self.turns.append(sending)
        self.clock.now += 0.125
        if not sending or self.done == self.total:
            return False
        self.done += 10
        return True

    def missing(self) -> str:
        owed = self.owed if self.total is None else self.total - self.done
        return f"{owed} never came" if owed else ""


class QuietLoop(Loop):
    """No links: waiting for them is nothing but time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float) -> bool:
        self.clock.now += timeout
        return False


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Loop:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return QuietLoop(clock)


def test_only_the_measured_time_counts(clock: Clock, loop: Loop) -> None:
    load, result, told = Counting(clock), Result("row"), list[int]()
    drive(loop, load, result, [os.getpid()], told.append, warmup=1.0, seconds=2.0)
    assert load.done == 240
    assert (result.operations, result.seconds, result.rate) == (160, 2.0, 80.0)
    assert result.cpu_target is not None
    assert load.turns == [True] * 24 + [False]
    assert told[-1] == 160


def test_without_a_time_limit_the_end_of_the_work_ends_it(clock: Clock, loop: Loop) -> None:
    load, result = Counting(clock, total=100), Result("row")
    drive(loop, load, result, [], lambda done: None, warmup=0.0, seconds=None)
    assert result.operations == 100
    assert result.seconds == pytest.approx(11 * 0.125)
    assert result.cpu_target is None  # nobody told which process it is


def test_what_never_comes_is_a_failure_and_not_a_figure(clock: Clock, loop: Loop) -> None:
    load, result = Counting(clock, owed=3), Result("row")
    with pytest.raises(MeasurementError, match=f"3 never came within {timing.PATIENCE:.0f} s"):
        drive(loop, load, result, [], lambda done: None, warmup=0.0, seconds=1.0)
    assert clock.now > 100.0 + timing.PATIENCE


# --- what the kernel tells ------------------------------------------------------------------------


def test_the_process_behind_a_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listening_process("127.0.0.1", port) == os.getpid()
    with pytest.raises(ProcessError, match=f"port {port}"):
        listening_process("127.0.0.1", port)
    with pytest.raises(ProcessError, match="another machine"):
        listening_process("192.0.2.1", port)


def test_cpu_time_and_memory_of_a_process() -> None:
    assert cpu_seconds(os.getpid()) > 0
    found = memory(os.getpid())
    assert found["rss"] >= found["anonymous"] > 1_000_000
    with pytest.raises(ProcessError):
        cpu_seconds(2**22 + 1)  # beyond the kernel's largest
