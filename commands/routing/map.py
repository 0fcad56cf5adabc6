"""`./lamp routing map`, the world, with each place in the colour of its region, today and after each loss.

Outlines of countries and US states (outlines.json) are Natural Earth's, 1:110 million, public domain, by way
of the npm packages world-atlas 2.0.2 and us-atlas 3.0.1. Rings of longitude, latitude in tenths of a degree. Places
too small for an outline are dots.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.errors import UsageError
from commands.routing.commands import FLEET, FleetOption, wanted
from commands.terminal import Console

if TYPE_CHECKING:
    from chalicelib.routing.records.build import Wanted

# Okabe and Ito's palette, told apart by people who see few colours; beyond eight regions it begins again.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f6f9b")
_SEA, _EDGE, _INK, _NOBODY = "#eef3f7", "#ffffff", "#22303c", "#c9ced3"
_OUTLINES = Path(__file__).with_name("outlines.json")
_FORMATS = (".svg", ".png")
_BIG = 12.0  # inches of width
_SOUTH, _NORTH = -58, 84
_WIDE, _HIGH = 30, 8  # degrees that a region's name takes up
_FLAT = (_NORTH - _SOUTH) / 360

Serves = Mapping[str, str]


def draw(
    fleet: FleetOption = FLEET,
    out: Annotated[Path, typer.Option("--out", help="File to write, .svg or .png.")] = Path("routing.svg"),
    dead: Annotated[list[str] | None, typer.Option("--dead", help="A region that is dead today. May repeat.")] = None,
) -> None:
    """Draws who goes where today, and in a small map for each region where its users go if it dies."""
    if out.suffix not in _FORMATS:
        raise UsageError(f"--out {out} has the wrong ending. Write to a file that ends in {' or '.join(_FORMATS)}")
    made = wanted(fleet)
    if unknown := sorted(set(dead or []) - set(made.spec.targets)):
        raise UsageError(f"{', '.join(unknown)}: no region of this fleet. There are {', '.join(made.spec.targets)}")
    try:
        picture(made, dead or []).savefig(out, dpi=110, metadata={"Date": None} if out.suffix == ".svg" else {})
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Choose another --out") from None
    Console().print(f"{out}: who goes where, today and if one of {len(made.spec.targets)} regions dies")


def serves(made: "Wanted", dead: Sequence[str]) -> Serves:
    """The region that gets most of each place's users."""
    from chalicelib.geography import places
    from chalicelib.routing.records.verify import expected

    alive = tuple(region for region in made.spec.targets if region not in dead)
    found = {}
    for place in places().values():
        shares = expected(made.spec, place, alive)
        found[place.name] = max(shares, key=lambda region: shares[region])
    return found


def picture(made: "Wanted", dead: Sequence[str]) -> Any:
    """The figure, a large map of today, and small ones of every further loss below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Equal input gives equal files.
    mpl.rcParams["svg.hashsalt"] = "lamplighter"
    regions = list(made.spec.targets)
    losses = [region for region in regions if region not in dead] if len(regions) - len(dead) > 1 else []
    columns = 2 if len(losses) in (2, 4) else min(3, max(1, len(losses)))
    rows = -(-len(losses) // columns)
    heights = [_BIG * _FLAT + 0.45, *[_BIG / columns * _FLAT + 0.3] * rows]
    figure = Figure(figsize=(_BIG, sum(heights)), facecolor="white")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=heights, left=0.01, right=0.99, bottom=0.01,
                               top=1 - 0.4 / sum(heights), hspace=0.12, wspace=0.02)
    colours = dict(zip(regions, COLOURS * (len(regions) // len(COLOURS) + 1), strict=False))
    title = f"{made.spec.hostname}: who goes where" + (f", with {', '.join(dead)} dead" if dead else "")
    _map(figure.add_subplot(grid[0, :]), made, serves(made, dead), dead, colours, title, large=True)
    for number, lost in enumerate(losses):
        axes = figure.add_subplot(grid[1 + number // columns, number % columns])
        gone = [*dead, lost]
        _map(axes, made, serves(made, gone), gone, colours, f"if {lost} dies", large=False)
    return figure


def _map(axes: Any, made: "Wanted", by: Serves, dead: Sequence[str], colours: Mapping[str, str], title: str,
         large: bool) -> None:
    axes.set_title(title, loc="left", fontsize=14 if large else 9, color=_INK, fontweight="bold" if large else "normal")
    axes.set(xlim=(-180, 180), ylim=(_SOUTH, _NORTH), xticks=[], yticks=[], aspect="equal", facecolor=_SEA)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _land(axes, by, colours, 0.4 if large else 0.2)
    _dots(axes, by, colours, 14 if large else 2.5)
    _regions(axes, made, dead, colours, large)


def _land(axes: Any, by: Serves, colours: Mapping[str, str], width: float) -> None:
    from matplotlib.collections import PolyCollection

    rings, faces = [], []
    # The whole of the US lies under its states.
    for name, outline in sorted(outlines().items(), key=lambda item: item[0].startswith("US-")):
        for ring in outline:
            rings.append([(ring[at] / 10, ring[at + 1] / 10) for at in range(0, len(ring), 2)])
            faces.append(colours[by[name]] if name in by else _NOBODY)
    axes.add_collection(PolyCollection(rings, facecolors=faces, edgecolors=_EDGE, linewidths=width))


def _dots(axes: Any, by: Serves, colours: Mapping[str, str], size: float) -> None:
    from chalicelib.geography import places

    small = [place for place in places().values() if place.kind == "country" and place.name not in outlines()]
    points = [(place.point.longitude, place.point.latitude) for place in small if place.point]
    axes.scatter(*zip(*points, strict=True), s=size, c=[colours[by[place.name]] for place in small], edgecolors=_EDGE,
                 linewidths=0.3, zorder=3)


def _regions(axes: Any, made: "Wanted", dead: Sequence[str], colours: Mapping[str, str], large: bool) -> None:
    from chalicelib.geography import regions

    for region in made.spec.targets:
        point = regions()[region]
        gone = region in dead
        axes.plot(point.longitude, point.latitude, marker="X" if gone else "o", markersize=11 if large else 5,
                  markerfacecolor="white" if gone else colours[region], markeredgecolor=_INK, zorder=5,
                  markeredgewidth=1.4 if large else 0.7)
        if large:
            east, side = _side(made.spec.targets, region)
            axes.annotate(region, (point.longitude, point.latitude), xytext=(east, 10), textcoords="offset points",
                          ha=side, fontsize=9, color=_INK, zorder=6, fontweight="bold",
                          bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "linewidth": 0})


def _side(regions_: Iterable[str], region: str) -> tuple[int, str]:
    """The side of a region's name beside its mark, away from a neighbour's."""
    from chalicelib.geography import regions

    here = regions()[region]
    for other in (regions()[one] for one in regions_ if one != region):
        if abs(other.longitude - here.longitude) < _WIDE and abs(other.latitude - here.latitude) < _HIGH:
            return (-4, "right") if here.longitude < other.longitude else (4, "left")
    return (0, "center")


def outlines() -> dict[str, list[list[int]]]:
    """The rings of each place that has an outline, by the name of the place."""
    found: dict[str, list[list[int]]] = json.loads(_OUTLINES.read_text())
    return found
