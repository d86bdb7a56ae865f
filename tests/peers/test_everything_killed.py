"""Three brokers that send to each other, any of which is killed at any time; every link is cut at any time.

Every message arrives once and is processed, every report comes home once, every status ends right, and nothing is
left over.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.ways import choose_seed
from tests.peers.cast import REPORTS, WORK, Consumer, Ledger, Member, Producer, Stage, judge
from tests.peers.guarded import GuardedNode
from tests.peers.nodes import STORES, Node, wait_for

NAMES = "ABC"
PATIENCE = 60.0  # seconds until progress is missed


def make_stages(directory: Path, store: str, make: type[Node]) -> list[Stage]:
    """Return three brokers, each of which dials the next one."""
    nodes = [make(name, directory, store) for name in NAMES]
    for number, node in enumerate(nodes):
        following = nodes[(number + 1) % len(nodes)]
        node.know(following, dial=True)
        following.know(node)
    return [Stage(node) for node in nodes]


def run(directory: Path, store: str, kills: int, most: int, make: type[Node] = Node) -> None:
    """Let them work while they are killed, each time after at most so much progress; then judge."""
    seed = choose_seed()
    chance = random.Random(seed)
    ledger, stages = Ledger(), make_stages(directory, store, make)
    producers = [
        Producer(stage, ledger, [n for n in NAMES if n != stage.node.name], f"{seed} {number}")
        for number, stage in enumerate(stages)
    ]
    members: list[Member] = [*producers]
    for stage in stages:
        members += [
            Consumer(stage, ledger, WORK, ledger.work, lambda frame: frame.body.decode()),
            Consumer(stage, ledger, REPORTS, ledger.reports, lambda f: f.headers["correlation-id"]),
        ]
    try:
        for stage in stages:
            stage.start()
        for member in members:
            member.start()
        for _ in range(kills):
            await_progress(ledger, chance.randint(1, most))
            disturb(chance.choice(stages), chance, ledger, most)
        for producer in producers:
            producer.done.set()
        for producer in producers:
            producer.join(PATIENCE)
            assert not producer.is_alive()
        await_nothing_left([stage.node for stage in stages])
        print(tell(ledger, stages))
        statuses = dict(status for stage in stages for status in statuses_of(stage.node))
    finally:
        for stage in stages:
            stage.over.set()
        for member in members:
            member.join(PATIENCE)
        for stage in stages:
            stage.node.end()
    assert [member.failure for member in members if member.failure is not None] == []
    faults = judge(ledger, {stage.node.name: stage.life for stage in stages})
    faults += [f"{id} is {status}" for id, status in statuses.items() if status != "PROCESSED"]
    faults += [f"{id} was confirmed and is not tracked" for id in ledger.confirmed - {*statuses}]
    if faults:
        pytest.fail("\n".join([f"{len(faults)} faults; HOOFBEAT_SEED={seed}", *faults[:20]]))


def await_progress(ledger: Ledger, steps: int) -> None:
    """Wait until so much more was confirmed, by anybody."""
    for _ in range(steps):
        assert ledger.progress.acquire(timeout=PATIENCE), "nothing goes on"


def disturb(stage: Stage, chance: random.Random, ledger: Ledger, most: int) -> None:
    """Kill a broker, and start it at once or while others have gone on; or cut the links that it was dialled over."""
    if chance.random() < 0.25:
        stage.node.door.cut()
        return
    stage.kill()
    if chance.random() < 0.5:
        await_progress(ledger, chance.randint(1, most))
    stage.start()


def await_nothing_left(nodes: list[Node]) -> None:
    """Wait until nothing waits anywhere, and nothing has come anywhere since that was seen."""
    seen: list[tuple[int, int]] = []

    def is_quiet() -> bool:
        before = [*seen]
        seen[:] = map(left_and_passed, nodes)
        return before == seen and not any(left for left, _ in seen)

    wait_for(nodes[0], is_quiet, bool)


def left_and_passed(node: Node) -> tuple[int, int]:
    """Return how many messages a broker holds, and how many it has taken from or given to peers."""
    peers = node.call("peers")
    held = [*peers, *node.call("queues")]
    left = sum(each["waiting"] + each["in_flight"] for each in held)
    return left, sum(peer["came"] + peer["forwarded"] for peer in peers)


def statuses_of(node: Node) -> Iterator[tuple[str, str]]:
    """Yield what became of each message that was sent there, by its id."""
    after = None
    while True:
        page = node.call("tracked_messages", None, 1000, after)
        yield from ((each["id"], each["status"]) for each in page["messages"])
        after = page["next"]
        if after is None:
            return


def tell(ledger: Ledger, stages: list[Stage]) -> str:
    """Return what happened, for who looks on."""
    repeated = sum(peer["repeated"] for stage in stages for peer in stage.node.call("peers"))
    again = sum(len(each) > 1 for each in ledger.work.values())
    return (
        f"{len(ledger.attempts)} sent, {len(ledger.confirmed)} confirmed, {len(ledger.work)} arrived,"
        f" {again} delivered again, {len(ledger.reports)} reports; {repeated} sent twice since the last starts;"
        f" lives {[stage.life for stage in stages]}"
    )


def test_everything_is_killed(tmp_path: Path) -> None:
    run(tmp_path, "", kills=8, most=300)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("store", STORES)
def test_everything_is_killed_for_long(store: str, tmp_path: Path) -> None:
    run(tmp_path, store, kills=50, most=1000)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_everything_is_killed_and_angels_see_to_it(tmp_path: Path) -> None:
    """Each broker has an angel that starts it again."""
    run(tmp_path, "", kills=50, most=1000, make=GuardedNode)
