"""The demo's picture, a lamp for every slot of every job, in the colour of the region that ran it, and its report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from chalicelib.crontab.dst import stamp
from commands.demo.part import Section
from commands.operate.show import plain_table
from commands.terminal import line
from sandbox.ran import Slot

COLOURS = ("yellow", "cyan", "magenta", "green", "blue")
_OPEN = {"running": "◐", "retrying": "◐", "waiting": "◌", "not run": "·"}


class Picture(NamedTuple):
    """One moment. Rows are jobs, columns are minutes. `notes` gives the progress of each part."""

    notes: Mapping[str, str]
    regions: Sequence[str]
    down: str
    minutes: range
    slots: Sequence[Slot]
    users: Mapping[str, str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for region in self.regions:
            dead = region == self.down
            yield Text(line(f"  {'✖' if dead else '●'} {region}{' is dead' if dead else ''}"),
                       "red" if dead else self._colour(region), end="")
        table = plain_table("job")
        for minute in self.minutes:
            table.add_column(stamp(minute)[11:], justify="center", no_wrap=True)
        for job in dict.fromkeys(slot.job for slot in self.slots):
            lamps = (Text(" ").join(self._lamp(slot) for slot in self.slots if (slot.job, slot.minute) == (job, minute))
                     for minute in self.minutes)
            table.add_row(Text(line(job), overflow="ellipsis", no_wrap=True), *lamps)
        yield Text()
        yield table
        yield Text.assemble("  users ", *((line(f" {who} "), self._colour(region) if region else "bold red strike")
                                          for who, region in self.users.items()))
        for name, note in self.notes.items():
            yield Text(line(f"  {name}: {note}"), style="italic")

    def _lamp(self, slot: Slot) -> Text:
        if slot.state in _OPEN:
            return Text(_OPEN[slot.state], style="dim")
        return Text("●", self._colour(slot.region)) if slot.state == "done" else Text("✖", "bold red")

    def _colour(self, region: str) -> str:
        return COLOURS[list(self.regions).index(region) % len(COLOURS)]


@contextmanager
def shown(console: Console) -> Iterator[Callable[[Picture], None]]:
    """A function that renews the picture in place. Without a terminal, it prints a line for each new note."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda picture: live.update(picture, refresh=True)
        return
    last: dict[str, str] = {}

    def update(picture: Picture) -> None:
        for name, note in picture.notes.items():
            if last.get(name) != note:
                console.print(line(f"{name}: {note}"), soft_wrap=True)
        last.update(picture.notes)

    yield update


def conclude(console: Console, section: Section) -> None:
    """The end of one part, in numbers, and what did not hold."""
    console.print(Text(f"\n{line(section.title)}", "bold"))
    if section.table:
        console.print(section.table)
    told = [Text(line(f"  {sentence}")) for sentence in section.sentences]
    for text in [*told, *(Text(line(f"  ✖ {failure}"), "red") for failure in section.failures)]:
        console.print(text)
