"""The demo's picture, a lamp for every slot of every job, in the colour of the region that ran it."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chalicelib.crontab.dst import next_fire, stamp
from commands.demo.report_data import Evidence, Report, Slot
from commands.demo.tunnels_screen import conclude as conclude_tunnels
from commands.operate.show import plain_table

COLOURS = ("yellow", "cyan", "magenta", "green", "blue")
_OPEN = {"running": "◐", "retrying": "◐", "waiting": "◌", "not run": "·"}


class Picture(NamedTuple):
    """One moment. Rows are jobs, columns are minutes."""

    note: str
    regions: Sequence[str]
    down: str
    first: int
    end: int
    slots: Sequence[Slot]
    users_note: str = ""
    users: Mapping[str, str] = {}
    tunnels_note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.legend()
        yield self.table()
        yield Text(f"  {self.note}", style="italic")
        yield self.crowd()
        yield Text(f"  {self.users_note}", style="italic")
        if self.tunnels_note:
            yield Text(f"  tunnels: {self.tunnels_note}", style="italic")

    def line(self) -> str:
        """The moment in one line."""
        lit = Counter(slot.region for slot in self.slots if slot.state == "done")
        told = ", ".join(f"{count} in {region}" for region, count in sorted(lit.items())) or "none yet"
        served = ", ".join(f"{who} {region or 'NOBODY'}" for who, region in self.users.items())
        tunnels = f"; tunnels: {self.tunnels_note}" if self.tunnels_note else ""
        return f"{self.note}; slots done: {told}; {self.users_note}{': ' if served else ''}{served}{tunnels}"

    def legend(self) -> Text:
        """The regions, each in its colour, and which is dead."""
        parts: list[tuple[str, str]] = []
        for region, colour in zip(self.regions, COLOURS, strict=False):
            dead = region == self.down
            parts.append((f"  {'✖' if dead else '●'} {region}{' is dead' if dead else ''} ", "red" if dead else colour))
        return Text.assemble(*parts)

    def crowd(self) -> Text:
        """Each user's country in the colour of the region that answers it. Red and struck out if nobody does."""
        text = Text("  users ")
        for who, region in self.users.items():
            text.append(f" {who} ", self._colour(region) if region else "bold red strike")
        return text

    def table(self) -> Table:
        """A lamp for each slot."""
        table = plain_table("job")
        for minute in range(self.first, self.end):
            table.add_column(stamp(minute)[11:], justify="center")
        for job in dict.fromkeys(slot.job for slot in self.slots):
            table.add_row(job, *self._lamps(job))
        return table

    def _lamps(self, job: str) -> Iterator[Text]:
        for minute in range(self.first, self.end):
            lamps = [self._lamp(slot) for slot in self.slots if slot.job == job and slot.minute == minute]
            yield Text(" ").join(lamps)

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
        self._said = ""

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
        elif picture.line() != self._said:
            self._said = picture.line()
            self._console.print(self._said, markup=False, soft_wrap=True)


def timetable(console: Console, evidence: Evidence, minute: int) -> None:
    """All jobs of the release, with the next minute at which each is due."""
    title = f"timetable {evidence.timetable.digest[:12]}"
    table = plain_table("job", "schedule", "clock", "runs on", "next, UTC", title=title)
    for number in range(len(evidence.book)):
        job = evidence.book[number]
        following = next_fire(job.expression, job.tz, minute)
        when = stamp(following).replace("T", " ") if following is not None else "never"
        table.add_row(job.name, job.schedule, job.tz, job.policy.on, when)
    console.print(table)
    console.print()


def conclude(console: Console, report: Report, evidence: Evidence) -> None:
    """The results, in numbers."""
    slots, tasks = report.slots, report.tasks
    lit = Counter(slot.region for slot in slots if slot.once)
    console.print(f"\n[bold]The report[/], {report.finished_after:.0f} s after the start")
    table = plain_table("", "")
    table.show_header = False
    table.add_row("slots due", f"{len(slots)}, of {len({slot.job for slot in slots})} jobs")
    table.add_row("ran exactly once", f"{sum(slot.once for slot in slots)}: " + ", ".join(
        f"{count} in {region}" for region, count in lit.most_common()))
    table.add_row(f"{report.home} dead", f"from {report.stopped[11:]} until {report.restarted[11:]}")
    table.add_row("longest wait of a slot it left", f"{report.takeover_seconds:.0f} s, of which "
                  f"{evidence.package.fleet.schedules.takeover_delay} s are patience")
    table.add_row("tasks", f"{tasks.sent:,} sent = {tasks.done:,} done + {tasks.dead} dead-lettered; "
                  f"{tasks.retried} failed at first")
    table.add_row("all regions deployed after", f"{report.deployed_after:.1f} s")
    console.print(table)
    for failure in report.failures:
        console.print(f"  ✖ {failure}", style="red", markup=False)
    console.print("[bold red]It did not hold.[/]" if report.failures else "[bold green]All of it held.[/]")


def conclude_users(console: Console, report: Report) -> None:
    """The results of the users, in numbers, beside the bounds of the settings."""
    told = report.routing
    if told is None:
        return
    console.print(f"\n[bold]The users[/], a request every 100 ms; {report.home} was dead from {report.stopped[11:]} "
                  f"until {report.restarted[11:]}")
    table = plain_table("user", "nearest", "second", "no answer", "back after", "else", "failed")
    for user in told.users:
        dead = user.nearest == report.home
        back = "" if user.back_after is None else f"{user.back_after:.0f} of {told.back_allowed:.0f}"
        table.add_row(user.who, user.nearest, user.second, f"{user.down_seconds:.1f} of {told.down_allowed:.0f}" if dead
                      else "", back, f"{user.otherwise_down:.1f}", f"{user.failed:,}")
    console.print(table)
    console.print("  in seconds; of: what is allowed at worst; else: no answer at any other time", style="dim")
    console.print(f"  {told.evacuated} was evacuated by hand: all its users were elsewhere after "
                  f"{told.evacuated_after:.0f} s, and back after it was restored.")
    console.print(f"  {told.hosts} of {told.replaced}'s hosts were replaced, one by one; Route 53's verdict about it "
                  f"changed {told.verdict_changes} times.")
    for failure in told.failures:
        console.print(f"  ✖ {failure}", style="red", markup=False)
    console.print("[bold red]It did not hold.[/]" if told.failures else "[bold green]All of it held.[/]")


def draw(path: Path, picture: Picture, report: Report, evidence: Evidence) -> None:
    """The last screen and the report as a picture."""
    console = Console(record=True, file=io.StringIO(), width=100, force_terminal=True, highlight=False)
    console.print(picture)
    conclude(console, report, evidence)
    conclude_users(console, report)
    conclude_tunnels(console, report.tunnels)
    # The picture stands alone: it takes whatever monospaced font there is.
    plain = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="./lamp demo"), flags=re.DOTALL)
    path.write_text(plain.replace("Fira Code", "DejaVu Sans Mono"))


def stay(console: Console) -> None:
    """Commands to try while the sandbox is up."""
    console.print("\nThe world stays up until Ctrl-C. From another terminal:\n  ./lamp status\n"
                  "  ./lamp run schedules.pause '{\"job\": \"lamps\"}' --apply\n  ./lamp run tasks.peek")
