"""`./lamp routing conformance`, whether the real Route 53 follows the rules behind the records, tried in your own
hosted zone."""

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from commands.conformance import queries
from commands.conformance import zone as conform_zone
from commands.conformance.cases import LABEL, TABLE, records
from commands.conformance.queries import Ask, Result
from commands.conformance.zone import Place, Remains
from commands.deploy.account import Account, spoken
from commands.errors import UsageError
from commands.operate import show
from commands.terminal import Console, line, write_json

CLOCK, WAIT = time.monotonic, time.sleep
# List prices of a whole month in US dollars (docs/routing.md): an endpoint outside of AWS, and what is calculated.
_PRICES = {"HTTP": 0.75, "CALCULATED": 0.50}


def conform(
    zone: Annotated[str, typer.Option(help="Your hosted zone's id.")],
    hostname: Annotated[str, typer.Option(help="A name in it that nobody uses, such as lamp-test.example.com.")],
    keep: Annotated[bool, typer.Option("--keep", help="Remove nothing, so that you can look at it. The next run "
                                                      "does.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Only remove what an earlier run left.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before making anything.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Needs --yes.")] = False,
) -> None:
    """Tries every rule of Route 53 that the records rely on, on your own account, and removes all that it made.

    Makes records and health checks below HOSTNAME with your AWS credentials. Asks Route 53 for its answers to clients
    in several places, and prints expected and actual ones rule by rule. Takes a few minutes. Exits with 1 if Route 53
    does anything else than expected.
    """
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("nobody can answer here. Add --yes to begin without asking")
    console = Console(stderr=as_json)
    client = Account().client("route53", conform_zone.REGION)
    with spoken(""):
        place = Place(client, zone, hostname, clock=CLOCK, wait=WAIT)
        left = conform_zone.remains(place)
        report = _clear(place, left, console, yes) if clear else _try(place, left, console, keep=keep, yes=yes)
    if as_json:
        write_json(report)
    raise typer.Exit(int(report.get("agrees") is False))


def _clear(place: Place, left: Remains, console: Console, yes: bool) -> dict[str, Any]:
    if not any(left):
        console.print(f"nothing is left at {place.hostname}")
        return {"removed": None}
    console.print(_left(left))
    _ask("Remove it?", yes)
    gone = conform_zone.clear(place)
    return {"removed": {"records": len(gone.records), "checks": len(gone.checks)}}


def _try(place: Place, left: Remains, console: Console, *, keep: bool, yes: bool) -> dict[str, Any]:
    if any(left):
        console.print(f"{_left(left)}. This run removes that first", soft_wrap=True)
    many = len(records(place.zone, place.hostname, dict.fromkeys(TABLE.checks, "")))
    price = sum(_PRICES[config["Type"]] for config in TABLE.checks.values())
    console.print(
        f"In the hosted zone {place.zone} this makes {many} record sets below {LABEL}.{place.hostname}, and in the "
        f"account {len(TABLE.checks)} health checks. They are disabled, or calculated from those, so they ask nobody.\n"
        f"A whole month of them costs ${price:.2f} by list prices, and a run no more than that. "
        + ("Nothing is removed at the end." if keep else "All of it is removed at the end, also on Ctrl-C."),
        soft_wrap=True)
    _ask("Begin?", yes)
    if any(left):
        conform_zone.clear(place)
    with conform_zone.made(place, TABLE.checks, keep):
        console.print("waiting until Route 53 knows how the health checks are ...", style="dim")
        ask, asked = _respondent(place, console)
        results = queries.results(place, ask)
    console.print(_table(results))
    console.print(_conclusion(results, keep), soft_wrap=True)
    return {"zone": place.zone, "hostname": place.hostname, "asked": asked, "kept": keep,
            "agrees": all(result.agrees for result in results), "rules": [
                {"rule": result.case.rule, "group": result.case.group, "client": result.case.client,
                 "says": result.case.says, "times": result.case.times, "expected": result.case.expected,
                 "got": result.got, "again": result.again, "agrees": result.agrees} for result in results]}


def _respondent(place: Place, console: Console) -> tuple[Ask, str]:
    """TestDNSAnswer, or the name servers if only these follow the checks."""
    tool = queries.by_tool(place)
    if queries.settled(place, tool):
        return tool, "TestDNSAnswer"
    console.print("TestDNSAnswer does not show the health checks as they should be. Asking the name servers ...")
    servers = queries.by_servers(place)
    if queries.settled(place, servers):
        return servers, "name servers"
    # Both say that a rule about health checks is broken; what TestDNSAnswer says is as good as the other.
    return tool, "TestDNSAnswer"


def _left(left: Remains) -> str:
    return f"an earlier run left {len(left.records)} record sets and {len(left.checks)} health checks"


def _ask(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, default=False):
        raise UsageError("nothing was changed")


def _table(results: Sequence[Result]) -> show.Rows:
    table = show.Rows("rule", "question", "from", "expected", "got", "")
    for result in results:
        expected = ", ".join(name if least == most else f"{name} {least} to {most} times"
                             for name, (least, most) in result.case.expected.items())
        got = ", ".join(f"{name} {times} times" if len(result.got) > 1 else name for name, times in result.got.items())
        table.add(result.case.rule, result.case.says, result.case.client, expected,
                  f"{got} (when asked again)" if result.again else got, "right" if result.agrees else "WRONG",
                  style="" if result.agrees else "bold red")
    return table


def _conclusion(results: Sequence[Result], keep: bool) -> str | Text:
    wrong = [result for result in results if not result.agrees]
    kept = "all is still there. The next run, or one with --clear, removes it" if keep else "all is removed again"
    if not wrong:
        return f"Route 53 does what the records rely on: {len(results)} of {len(results)} right; {kept}"
    rules = line(", ".join(dict.fromkeys(result.case.rule for result in wrong)))
    return Text.assemble((f"{len(wrong)} answers are not what the records rely on", "bold red"),
                         f" (rules {rules}); {kept}")
