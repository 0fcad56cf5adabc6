"""The one place that writes to the terminal, so that text of others is shown there and never obeyed.

Names, reasons, output of jobs, dead letters and errors come from outside. No escape sequence, no markup of rich and no
emoji code in them takes effect here. A field of a report goes through `line`, which also keeps it on its
line. `Console` escapes what is left.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment


class Console(console.Console):
    """A console of rich without markup, emoji codes and highlighting. It escapes all control characters of a text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, **settings, "markup": False, "emoji": False})

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of `renderable`. Line breaks between them are the layout's own."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(line, segment.text.split("\n"))), segment.style)


def write(text: str, *, to_stderr: bool = False) -> None:
    """Prints `text` as it is, line by line, for people and for programs that read lines."""
    stream = sys.stderr if to_stderr else sys.stdout
    for one in text.splitlines() or [""]:
        print(line(one), file=stream)


def write_json(value: Any, *, indent: int | None = 2) -> None:
    """Prints `value`, made of JSON's own types. Every character beyond ASCII is escaped."""
    print(json.dumps(value, indent=indent))


def line(text: str) -> str:
    """`text` of others as one line that a terminal shows and does not obey."""
    if text.isprintable():
        return text
    # Loaded only for the rare text that needs it: `lamp` alone starts without its libraries.
    from chalicelib import foreign

    return foreign.line(text)
