"""Killed again and again under load, the broker loses nothing it confirmed (Jepsen's total-queue)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.crowd import run_total_queue
from tests.durability.history import judge
from tests.durability.ways import STORES, choose_seed

KILLS = [10, pytest.param(60, marks=[pytest.mark.faults, pytest.mark.timeout(600)])]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("kills", KILLS)
def test_deaths_under_load(
    store: str, kills: int, start_broker: StartBroker, tmp_path: Path
) -> None:
    """What was confirmed is delivered, what was acknowledged and confirmed never comes back."""
    chosen = choose_seed()
    url = STORES[store].format(tmp_path)
    history = run_total_queue(
        lambda: start_broker(url), chosen, producers=3, consumers=3, kills=kills
    )
    print(f"{store}: {kills} kills, {history.summary()}")
    faults = judge(history)
    if faults:
        kept = tmp_path / "history.jsonl"
        history.save(kept)
        pytest.fail(
            "\n".join([f"{len(faults)} faults; HOOFBEAT_SEED={chosen}, {kept}", *faults[:20]])
        )
