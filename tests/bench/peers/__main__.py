"""Make the environments, measure all libraries in turn, show one table.

Exit status: 0 if everything that was asked for has a figure, 1 if not; what is missing is said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from broker.bench import figures, interrupts
from broker.bench.cli import count, positive
from broker.bench.targets import PACKAGES, TargetError, end, lines
from tests.bench.peers.brokers import BROKERS, Missing
from tests.bench.peers.table import COLUMNS, PEERS, Peer

PATIENCE = (
    60.0  # seconds in which a server must be ready, and a client must have ended after its time
)
#: Without what we ourselves were told, which would let pip see packages that are not in there.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
ENVIRONMENTS = PACKAGES / ".venv" / "peers"

#: The rates of each round, by peer and column.
Found = dict[tuple[str, str], list[float]]


class Failed(Exception):
    """A measurement has no figure."""


def main() -> int:
    """Run all; return the exit status."""
    options = parser().parse_args()
    if options.list:
        for peer in PEERS:
            print(f"{peer.name:15} {peer.title}")
        return 0
    chosen = [peer for peer in PEERS if not options.peers or peer.name in options.peers.split(",")]
    if unknown := set(filter(None, (options.peers or "").split(","))) - {p.name for p in chosen}:
        print(f"there is no peer {', '.join(sorted(unknown))}; --list shows all", file=sys.stderr)
        return 2
    if options.install:
        for peer in chosen:
            install(options.environments, peer)
    versions: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for peer in chosen:
        try:
            versions[peer.name] = version(options.environments, peer)
        except Missing as missing:
            reasons[peer.name] = str(missing)
    found: Found = {}
    try:
        with interrupts.deferred():
            for number in range(options.rounds):
                for peer in chosen:
                    if peer.name in reasons:
                        continue
                    print(f"round {number + 1} of {options.rounds}: {peer.title}", file=sys.stderr)
                    try:
                        for column, rate in measured(peer, options):
                            found.setdefault((peer.name, column), []).append(rate)
                    except (Failed, Missing, TargetError) as reason:
                        reasons[peer.name] = str(reason)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    show(chosen, versions, found, reasons, options)
    if options.json:
        as_json = {
            "machine": figures.machine(),
            "versions": versions,
            "rates": {f"{name} {column}": rates for (name, column), rates in found.items()},
            "missing": reasons,
        }
        options.json.write_text(json.dumps(as_json, indent=1) + "\n")
    return 1 if reasons else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.bench.peers",
        description="Measure remote calls of hoofbeat and of other libraries, in turn.",
    )
    made.add_argument("--peers", metavar="A,B", help="only these")
    made.add_argument("--list", action="store_true", help="list them and end")
    made.add_argument("--install", action="store_true", help="make what environments are missing")
    made.add_argument(
        "--environments", type=Path, default=ENVIRONMENTS, help="where they are (.venv/peers)"
    )
    made.add_argument("--rounds", type=count, default=3, help="the median counts (default 3)")
    made.add_argument("--seconds", type=positive, default=2.0, help="of each load (default 2)")
    made.add_argument("--warmup", type=positive, default=0.5, help="seconds before (default 0.5)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    return made


# --- environments ---------------------------------------------------------------------------------


def python(environments: Path, peer: Peer) -> str:
    """Return the Python that runs a peer's processes. Raises `Missing`."""
    if not peer.packages:
        return sys.executable
    place = environments / (peer.environment or peer.name) / "bin" / "python"
    if not place.exists():
        raise Missing(f"{' '.join(peer.packages)} is not installed: run with --install")
    return str(place)


def install(environments: Path, peer: Peer) -> None:
    """Make a peer's environment, unless there is one already."""
    with contextlib.suppress(Missing):
        python(environments, peer)
        return
    print(f"installing {' '.join(peer.packages)}", file=sys.stderr)
    place = environments / (peer.environment or peer.name)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    made = subprocess.run([*pip, *peer.packages], env=CLEAN, check=False)
    if made.returncode:
        print(f"{' '.join(peer.packages)} cannot be installed", file=sys.stderr)


def version(environments: Path, peer: Peer) -> str:
    """Return which version is installed. Raises `Missing`."""
    if not peer.packages:
        return ""
    name = peer.packages[0]
    code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    command = [python(environments, peer), "-c", code]
    asked = subprocess.run(command, env=CLEAN, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise Missing(f"{name} is not installed in its environment: remove it and run --install")
    return asked.stdout.strip()


# --- measuring ------------------------------------------------------------------------------------


def measured(peer: Peer, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Yield each column and its rate. Raises `Failed`, `Missing`, `TargetError`."""
    command = [python(options.environments, peer), "-m", f"tests.bench.peers.{peer.module}"]
    with BROKERS[peer.broker]() as broker, server([*command, "serve", broker]) as address:
        for column, load in peer.loads.items():
            times = [str(options.warmup), str(options.seconds)]
            process = started([*command, load, address, *times])
            try:
                said = list(lines(process, options.warmup + options.seconds + PATIENCE))
            finally:
                end(process)
            if not said:
                raise Failed(f"{COLUMNS[column]}: the client ended with no figure")
            result = json.loads(said[-1])
            yield column, result["calls"] / result["seconds"]


@contextlib.contextmanager
def server(command: list[str]) -> Iterator[str]:
    """Run a peer's server; gives the address that it tells. Raises `Failed`."""
    process = started(command)
    try:
        address = next(lines(process, PATIENCE), None)
        if address is None:
            raise Failed("the server does not start")
        yield address
    finally:
        end(process)


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a process of a peer, which finds its library, and this package."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        start_new_session=True,
    )


# --- showing --------------------------------------------------------------------------------------


def show(
    chosen: list[Peer],
    versions: dict[str, str],
    found: Found,
    reasons: dict[str, str],
    options: argparse.Namespace,
) -> None:
    """Print the table, as Markdown, and what is missing."""
    print(f"| calls per second | through | {' | '.join(COLUMNS.values())} |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for peer in chosen:
        cells = [
            f"{statistics.median(rates):,.0f}" if (rates := found.get((peer.name, column))) else "–"
            for column in COLUMNS
        ]
        title = f"{peer.title} {versions.get(peer.name, '')}".rstrip()
        print(f"| {title} | {peer.broker or 'no broker'} | {' | '.join(cells)} |")
    machine = figures.machine()
    print(
        f"\nMedian of {options.rounds} rounds of {options.seconds:g} s, in turn; arguments of 100 bytes;"
        f" {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}."
    )
    titles = {peer.name: peer.title for peer in PEERS}
    for name, reason in reasons.items():
        print(f"MISSING: {titles[name]}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
