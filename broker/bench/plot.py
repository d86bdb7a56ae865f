"""The picture of the figures, by matplotlib: the extra `plot`.

Draws from the JSON form of `figures` only, and needs no display.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = (
    "#b9c0c9",
    "#c2410c",
    "#1d6fa5",
    "#4d7c0f",
    "#7c3aed",
)  # the ceiling is drawn first, grey
BAR = 0.8  # of the space of a row


class PlotError(Exception):
    """matplotlib is not installed."""


def draw(found: dict[str, Any], path: Path) -> None:
    """Write the picture; the file's name decides its format.

    Raises `PlotError` without matplotlib, `OSError` if the file cannot be written, `ValueError`
    for a format that matplotlib does not know.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("the picture needs matplotlib: pip install 'hoofbeat[plot]'") from error
    rows = [row for row in found["rows"] if any("rate" in each for each in row["figures"].values())]
    names = [target["name"] for target in found["targets"]]
    height = BAR / max(1, len(names))
    picture = Figure(
        figsize=(9, 1.2 + 0.55 * len(rows) * max(1, len(names)) / 2), layout="constrained"
    )
    axes = picture.add_subplot()
    for index, name in enumerate(names):
        places, rates = [], []
        for place, row in enumerate(rows):
            figure = row["figures"].get(name, {})
            if "rate" in figure:
                places.append(place + (index - (len(names) - 1) / 2) * height)
                rates.append(figure["rate"])
                share = figure["share"]
                text = f" {figure['rate']:,.0f}" + (f" ({share:.2f})" if share else "")
                axes.text(rates[-1], places[-1], text, va="center", fontsize=7)
        axes.barh(places, rates, height * 0.95, label=name, color=COLOURS[index % len(COLOURS)])
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("operations per second (and share of the ceiling)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.4, 1.0 + 0.9 / max(2, len(rows))),
        ncols=4,
        frameon=False,
    )
    picture.savefig(path, dpi=150)
