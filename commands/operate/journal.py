"""`lamp journal`, the actions with their times, operations and reasons."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib import foreign
from commands.errors import UsageError
from commands.operate import client, show
from commands.operate.run import Json, Stage
from commands.operate.status import report
from commands.terminal import Console, write_json


def journal(
    region: Annotated[str, typer.Option(help="Only this region, by default all of the fleet.")] = "",
    operation: Annotated[str, typer.Option(help="Only operations whose name begins so, as in tunnels.")] = "",
    since: Annotated[str, typer.Option(help="How far back, as in 2h or 7d. At most 90d.")] = "1d",
    limit: Annotated[int, typer.Option(help="At most so many entries of each region, the newest.")] = 50,
    stage: Stage = "",
    as_json: Json = False,
) -> None:
    """The actions of operations in each region, newest first, each with its reason and its result.

    The journal leaves out reads, and steps that go as planned every minute. lamp explain has those.
    """
    way = client.find(stage, region)
    wanted = {"since": since, "operation": operation, "limit": limit}
    answers = _ask(way, [region] if region else [known.name for known in way.fleet.regions], wanted)
    entries = sorted((entry for answer in answers.values() for entry in answer.get("entries", ())),
                     key=lambda entry: str(entry["at"]), reverse=True)
    if as_json:
        silent = {name: answer["error"] for name, answer in answers.items() if "error" in answer}
        more = [name for name, answer in answers.items() if answer.get("left_out")]
        write_json({"entries": entries, "older_in": more, "silent": silent})
    else:
        _print(Console(), entries, answers)


def _ask(way: client.OperationClient, regions: Sequence[str], wanted: dict[str, Any]) -> dict[str, Any]:
    """Per region its report, or why there is none. `UsageError` if there is none at all."""
    def ask(region: str) -> Any:
        try:
            return report("journal.read", way.ask("journal.read", wanted, region))
        except UsageError as silence:
            return {"error": str(silence)}

    with ThreadPoolExecutor(len(regions)) as pool:
        found = dict(zip(regions, pool.map(ask, regions), strict=True))
    if all("error" in answer for answer in found.values()):
        raise UsageError("\n".join(answer["error"] for answer in found.values()))
    return found


def _print(console: Console, entries: Sequence[Mapping[str, Any]], answers: Mapping[str, Any]) -> None:
    for entry in entries:
        for line in lines(entry):
            console.print(line, soft_wrap=True)
    if not entries:
        console.print("no action in that time", style="dim")
    for region, answer in answers.items():
        if answer.get("left_out"):
            console.print(Text(f"{region} has older entries, which --limit shows", "dim"))
        if "error" in answer:
            console.print(Text.assemble((f"{region}: ", "bold red"), foreign.line(answer["error"])), soft_wrap=True)


def lines(entry: Mapping[str, Any]) -> Iterator[Text]:
    """An entry for people, with a headline, a line for each action with its reason, and the result."""
    entry = foreign.plain(entry)
    if "unreadable" in entry:
        yield Text.assemble((entry["at"], "dim"), "  ", (entry["region"], "cyan"), "  ", (entry["unreadable"], "red"))
        return
    # A request by hand has an id, by which CloudTrail knows the caller.
    request = f", request {entry['request']}" if entry.get("trigger") == "manual" and entry.get("request") else ""
    version = f", version {entry['version']}" if entry.get("version") else ""
    cause = f"  by {entry.get('trigger', '?')}{request}{version}"
    yield Text.assemble((entry["at"], "dim"), "  ", (entry.get("region", ""), "cyan"), "  ",
                        (entry.get("operation", ""), "bold"), (cause, "dim"))
    for action in entry.get("actions", ()):
        yield Text.assemble("    ", (f"{action['kind']} ", show.STYLES.get(action["kind"], "yellow")),
                            f"{action['target']}: {action['reason']}")
    if (more := entry.get("count", 0) - len(entry.get("actions", ()))) > 0:
        yield Text(f"    and {more} more", "dim")
    for result in entry.get("results", ()):
        yield Text(f"    -> {result}", "dim")
