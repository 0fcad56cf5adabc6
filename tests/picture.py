"""Draws docs/architecture.svg from the repository: operations by capability, and the AWS services that have a port.

    python -m tests.picture        writes the file
"""

import json
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "architecture.svg"
WIDTH, COLUMN, LEFT = 1080, 168, 36
STEPS = (("observe", "reads the world"), ("decide", "pure, gives a plan"), ("guards", "limits of the plan"),
         ("act", "claims, then acts"), ("journal", "who, what, why"))
TRIGGERS = (("EventBridge rule", "each minute or hour"), ("SQS message", "a run, a task, a reminder"),
            ("invocation", "lamp run, console, chat"))
WORLD = (("regional table", "one in each region"), ("coordination table", "agreements of regions"),
         ("your code", "cron/ and tasks/"), ("Route 53", "records and checks"),
         ("tunnel hosts", "ssh to the gateway"), ("databases", "primary and replicas"))


def operations() -> dict[str, list[str]]:
    """The operations by capability, from the Lambdas that are deployed."""
    found: dict[str, list[str]] = defaultdict(list)
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    folders = sorted((path.name for path in (ROOT / "chalicelib").iterdir() if path.is_dir()), key=len, reverse=True)
    for name in config["stages"]["any"]["lambda_functions"]:
        capability = next(one for one in folders if name.startswith(f"{one}_"))
        found[capability].append(name.removeprefix(f"{capability}_"))
    return dict(found)


def services() -> list[str]:
    """The AWS services that have a port."""
    helpers = {"__init__", "ports", "client", "errors", "page"}
    return sorted(path.stem for path in (ROOT / "chalicelib" / "aws").glob("*.py") if path.stem not in helpers)


class Drawing:
    """Boxes, arrows and text, as SVG."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """A box with rounded corners."""
        self.parts.append(f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')

    def text(self, x: float, y: float, words: str, style: str = "", middle: bool = True) -> None:
        """A line of text."""
        anchor = ' text-anchor="middle"' if middle else ""
        self.parts.append(f'<text class="{style}" x="{x:g}" y="{y:g}"{anchor}>{escape(words)}</text>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """An arrow from one point to another."""
        self.parts.append(f'<line class="arrow" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')

    def titled(self, x: float, y: float, width: float, words: tuple[str, str], style: str) -> None:
        """A box of two lines."""
        self.box(x, y, width, 50, style)
        self.text(x + width / 2, y + 21, words[0], "title")
        self.text(x + width / 2, y + 39, words[1], "small")


STYLE = """
text { font: 13px Helvetica, Arial, sans-serif; fill: #1c2733 }
.title { font-weight: bold } .small { font-size: 11px; fill: #50606e } .mono { font: 12px monospace }
.head { font-weight: bold; font-size: 14px }
.trigger { fill: #fdf1d6; stroke: #c99a2e } .engine { fill: #eef3f8; stroke: #5b7fa3 }
.step { fill: #ffffff; stroke: #5b7fa3 }
.capability { fill: #f4f8f1; stroke: #6f9b58 } .ports { fill: #f3eefa; stroke: #8667b0 }
.world { fill: #ffffff; stroke: #8a96a1 }
.arrow { stroke: #50606e; stroke-width: 1.5; marker-end: url(#end) }
"""


def svg() -> str:
    """The whole picture."""
    drawing = Drawing()
    inner = WIDTH - 2 * LEFT
    _triggers(drawing, inner)
    _engine(drawing, inner)
    bottom = _capabilities(drawing, operations())
    _outside(drawing, inner, bottom)
    height = bottom + 214
    marker = ('<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
              '<path d="M0 0 L8 4 L0 8 z" fill="#50606e"/></marker>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
            f"<title>How a trigger becomes an action</title>\n<style>{STYLE}</style>\n<defs>{marker}</defs>\n"
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(drawing.parts) + "\n</svg>\n")


def _triggers(drawing: Drawing, inner: float) -> None:
    each = inner / len(TRIGGERS)
    for number, words in enumerate(TRIGGERS):
        x = LEFT + number * each + 40
        drawing.titled(x, 20, each - 80, words, "trigger")
        drawing.arrow(x + (each - 80) / 2, 70, x + (each - 80) / 2, 104)


def _engine(drawing: Drawing, inner: float) -> None:
    drawing.box(LEFT, 106, inner, 112, "engine")
    drawing.text(LEFT + 14, 127, "chalicelib/engine: one loop for every operation", "head", middle=False)
    drawing.text(LEFT + inner - 14 - 150, 127, "one Lambda per operation (app.py)", "small")
    each = (inner - 28) / len(STEPS)
    for number, words in enumerate(STEPS):
        x = LEFT + 14 + number * each
        drawing.titled(x + 8, 150, each - 36, words, "step")
        if number + 1 < len(STEPS):
            drawing.arrow(x + each - 27, 175, x + each + 6, 175)


def _capabilities(drawing: Drawing, found: dict[str, list[str]]) -> float:
    # The tallest column decides; the result is where the columns end.
    height = 44 + 17 * max(map(len, found.values()))
    for number, (capability, names) in enumerate(found.items()):
        x = LEFT + number * COLUMN
        drawing.arrow(x + 80, 218, x + 80, 250)
        drawing.box(x, 252, COLUMN - 8, height, "capability")
        drawing.text(x + (COLUMN - 8) / 2, 274, capability, "head")
        for line, name in enumerate(names):
            drawing.text(x + 16, 297 + 17 * line, name, "mono", middle=False)
    return 252 + height


def _outside(drawing: Drawing, inner: float, top: float) -> None:
    drawing.arrow(WIDTH / 2, top, WIDTH / 2, top + 30)
    drawing.box(LEFT, top + 32, inner, 56, "ports")
    drawing.text(LEFT + 14, top + 53, "chalicelib/aws: a port for each service", "head", middle=False)
    drawing.text(LEFT + 14, top + 75, "   ".join(services()), "mono", middle=False)
    each = inner / len(WORLD)
    for number, words in enumerate(WORLD):
        x = LEFT + number * each
        drawing.arrow(x + each / 2, top + 88, x + each / 2, top + 126)
        drawing.titled(x + 4, top + 128, each - 8, words, "world")


if __name__ == "__main__":
    FILE.write_text(svg())
