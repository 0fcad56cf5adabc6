"""The final report on the tunnels, one row for each fault, and below it the controller's actions and reasons."""

from rich.console import Console
from rich.text import Text

from commands.demo.faults import FAR, Fault, Told
from commands.operate.show import plain_table

_WIDTH = 80


def conclude(console: Console, told: Told | None) -> None:
    """The story's end, in at most 80 columns. Nothing if it was not told."""
    if told is None:
        return
    console.print(f"\n[bold]The tunnels[/] from {told.region} to the database in {told.primary}")
    console.print(f"  {told.parts}", style="dim", markup=False)
    table = plain_table("what happened", f"no {told.measured}", "well after", "the healer saw, and did")
    table.width = min(_WIDTH, console.width)
    for fault in told.faults:
        well = "never" if fault.well_after is None else f"{fault.well_after:.0f} s"
        table.add_row(fault.name, f"{fault.nothing_seconds:.1f} s", well, Text("\n").join(_lines(fault)))
    console.print(table)
    console.print(Text(_count(told)))
    for failure in told.failures:
        console.print(f"  ✖ {failure}", style="red", markup=False)
    console.print("[bold red]It did not hold.[/]" if told.failures else "[bold green]All of it held.[/]")


def _lines(fault: Fault) -> list[Text]:
    saw = Text(f"saw {', '.join(fault.saw)}" if fault.saw else "saw nothing: it was too short", style="dim")
    if fault.deeds:
        return [saw, *(Text.assemble(f"{deed.after:3} s ", (deed.kind, "bold"), f": {deed.why}")
                       for deed in fault.deeds)]
    why = "no tunnel is to blame" if fault.name == FAR else "all was well again without it"
    return [saw, Text(f"nothing: {why}")]


def _count(told: Told) -> str:
    if told.rows is None or told.lost is None:
        if told.measured == "replication":
            return "  Rows were not counted: the story ended before its last fault was mended."
        return "  Nothing was written: a client had the database greet it every 100 ms, for want of MariaDB."
    lost = "all of them are on the replica" if not told.lost else f"{told.lost} are not on the replica"
    return f"  {told.rows:,} rows were written, one every 100 ms: {lost}."
