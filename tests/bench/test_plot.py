"""The picture: one bar a target and row, from the JSON alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from broker.bench.plot import PlotError, draw


def figure(rate: float, share: float | None) -> dict[str, Any]:
    return {"rate": rate, "share": share}


FOUND: dict[str, Any] = {
    "targets": [{"name": "copying"}, {"name": "hoofbeat"}, {"name": "elsewhere"}],
    "rows": [
        {
            "title": "plain messages",
            "figures": {
                "copying": figure(1_500_000.0, None),
                "hoofbeat": figure(300_000.0, 0.2),
                "elsewhere": {"failure": "1 lost"},
            },
        },
        {"title": "fill", "figures": {"hoofbeat": figure(130_000.0, None)}},
        {"title": "broken", "figures": {"hoofbeat": {"failure": "2 lost"}}},
    ],
}


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG\r\n"), ("a.pdf", b"%PDF-")])
def test_the_name_of_the_file_decides_its_format(tmp_path: Path, name: str, begins: bytes) -> None:
    draw(FOUND, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_rates_and_shares_are_written_at_the_bars(tmp_path: Path) -> None:
    """A row that has failed everywhere is left out: a failure is no figure."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw(FOUND, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for said in ("plain messages", "fill", "copying", "hoofbeat", "1,500,000", "300,000 (0.20)"):
        assert said in text
    assert "130,000" in text
    assert "broken" not in text


def test_a_run_without_figures_is_drawn_too(tmp_path: Path) -> None:
    draw(FOUND | {"rows": FOUND["rows"][2:]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jpeg2000"):
        draw(FOUND, tmp_path / "a.jpeg2000")
    with pytest.raises(FileNotFoundError):
        draw(FOUND, tmp_path / "missing" / "a.png")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"hoofbeat\[plot\]"):
        draw(FOUND, tmp_path / "a.png")
