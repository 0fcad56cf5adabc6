"""The demo's picture, a lamp for every slot of every job, in the colour of the region that ran it, and its report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chalicelib.crontab.dst import stamp
from commands.demo.jobs import Slot
from commands.demo.part import Section
from commands.operate.show import plain_table

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
        marks = [(f"  {'✖' if region == self.down else '●'} {region}{' is dead' if region == self.down else ''} ",
                  "red" if region == self.down else self._colour(region)) for region in self.regions]
        yield Text.assemble(*marks)
        yield self.table()
        yield Text.assemble("  users ", *((f" {who} ", self._colour(region) if region else "bold red strike")
                                          for who, region in self.users.items()))
        for name, note in self.notes.items():
            yield Text(f"  {name}: {note}", style="italic")

    def line(self) -> str:
        """The moment in one line."""
        ran = Counter(slot.region for slot in self.slots if slot.state == "done")
        slots = ", ".join(f"{count} in {region}" for region, count in sorted(ran.items())) or "none yet"
        served = ", ".join(f"{who} {region or 'NOBODY'}" for who, region in self.users.items())
        notes = "; ".join(f"{name}: {note}" for name, note in self.notes.items())
        return f"{notes}; slots done: {slots}{'; users: ' if served else ''}{served}"

    def table(self) -> Table:
        """A lamp for each slot."""
        table = plain_table("job")
        for minute in self.minutes:
            table.add_column(stamp(minute)[11:], justify="center", no_wrap=True)
        for job in dict.fromkeys(slot.job for slot in self.slots):
            table.add_row(Text(job, overflow="ellipsis", no_wrap=True), *self._lamps(job))
        return table

    def _lamps(self, job: str) -> Iterator[Text]:
        for minute in self.minutes:
            yield Text(" ").join(self._lamp(slot) for slot in self.slots if (slot.job, slot.minute) == (job, minute))

    def _lamp(self, slot: Slot) -> Text:
        if slot.state in _OPEN:
            return Text(_OPEN[slot.state], style="dim")
        if slot.state != "done":
            return Text("✖", style="bold red")
        return Text("●", style=self._colour(slot.region))

    def _colour(self, region: str) -> str:
        return COLOURS[list(self.regions).index(region) % len(COLOURS)]


class Show:
    """The picture, renewed in place. Without a terminal, a line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, picture: Picture) -> None:
        """Shows the moment."""
        if self._live:
            self._live.update(picture, refresh=True)
        elif picture.line() != self._last:
            self._last = picture.line()
            self._console.print(self._last, markup=False, soft_wrap=True)


def conclude(console: Console, section: Section) -> None:
    """The end of one part, in numbers, and what did not hold."""
    console.print(Text(f"\n{section.title}", "bold"))
    if section.table:
        console.print(section.table)
    for sentence in section.sentences:
        console.print(Text(f"  {sentence}"))
    for failure in section.failures:
        console.print(Text(f"  ✖ {failure}", "red"))
