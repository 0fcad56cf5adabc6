"""`./lamp routing conformance`, whether the real Route 53 follows the rules behind the records, tried in your own
hosted zone."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commands.conformance import queries, retarget
from commands.conformance import zone as conform_zone
from commands.conformance.cases import CHECKS, LABEL, records
from commands.conformance.client import Calls, Pace
from commands.conformance.queries import Ask, Result
from commands.conformance.zone import Left, Place
from commands.deploy.account import Account, spoken
from commands.errors import UsageError

# Route 53's API is served from there, whatever region asks.
REGION = "us-east-1"
PACE = Pace()
# List prices of a whole month in US dollars (docs/routing.md): an endpoint outside of AWS, what is calculated, and the
# fast interval as an option of the former.
_PRICES = {"HTTP": 0.75, "CALCULATED": 0.50, "TCP": 0.75 + 2.00}


class Wish(msgspec.Struct, frozen=True):
    """The user's request."""

    place: Place
    keep: bool = False
    living: retarget.Target | None = None
    dead: retarget.Target | None = None

    @property
    def extra(self) -> dict[str, dict[str, Any]]:
        """The health checks beside those of the rules."""
        return {retarget.NAME: retarget.check(self.living)} if self.living else {}


def conform(
    zone: Annotated[str, typer.Option(help="Your hosted zone's id.")],
    hostname: Annotated[str, typer.Option(help="A name in it that nobody uses, such as lamp-test.example.com.")],
    living: Annotated[str, typer.Option(help="ADDRESS:PORT that answers TCP. With --dead: measures a move.")] = "",
    dead: Annotated[str, typer.Option(help="ADDRESS:PORT of yours where nobody answers.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Remove nothing, so that you can look at it. The next run "
                                                      "does.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Only remove what an earlier run left.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before making anything.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Needs --yes.")] = False,
) -> None:
    """Tries every rule of Route 53 that the records rely on, on your own account, and removes all that it made.

    Makes records and health checks below HOSTNAME with your AWS credentials. Asks Route 53 for its answers to clients
    in several places, and prints expected and actual ones rule by rule. Takes a few minutes, with --living and --dead a
    few more. Exits with 1 if Route 53 does anything else than expected.
    """
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("nobody can answer here. Add --yes to begin without asking")
    if bool(living) is not bool(dead):
        raise UsageError("--living and --dead belong together. The check moves from the one to the other")
    console = Console(stderr=as_json, highlight=False)
    calls = Calls.slow(Account().client("route53", REGION), PACE)
    with spoken(""):
        wish = Wish(conform_zone.find(calls, zone, hostname), keep,
                    retarget.target(living, "--living") if living else None,
                    retarget.target(dead, "--dead") if dead else None)
        report = _cleared(calls, wish, console, yes) if clear else _tried(calls, wish, console, yes)
    if as_json:
        print(json.dumps(report, indent=2))
    raise typer.Exit(int(report.get("agrees") is False))


def _cleared(calls: Calls, wish: Wish, console: Console, yes: bool) -> dict[str, Any]:
    left = conform_zone.left(calls, wish.place)
    if not left:
        console.print(f"nothing is left at {wish.place.hostname}")
        return {"removed": None}
    console.print(_left_words(left))
    _asked("Remove it?", yes)
    gone = conform_zone.clear(calls, wish.place)
    return {"removed": {"records": len(gone.records), "checks": len(gone.checks)}}


def _tried(calls: Calls, wish: Wish, console: Console, yes: bool) -> dict[str, Any]:
    left = conform_zone.left(calls, wish.place)
    if left:
        console.print(f"{_left_words(left)}. This run removes that first", soft_wrap=True)
    console.print(_announced(wish), soft_wrap=True)
    _asked("Begin?", yes)
    if left:
        conform_zone.clear(calls, wish.place)
    note = f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}"
    with conform_zone.made(calls, wish.place, note, wish.keep, wish.extra) as ids:
        ask, way = _way(calls, wish.place, console)
        results = queries.results(calls, ask)
        _print(console, results)
        moves = _moves(calls, ask, wish, ids, console)
    console.print(_ended(wish, results), soft_wrap=True)
    return {"zone": wish.place.zone, "hostname": wish.place.hostname, "asked": way,
            "agrees": all(result.agrees for result in results),
            "rules": [msgspec.to_builtins(result) | {"agrees": result.agrees} for result in results],
            "moves": msgspec.to_builtins(moves), "kept": wish.keep}


def _way(calls: Calls, place: Place, console: Console) -> tuple[Ask, str]:
    """The respondent, which is TestDNSAnswer, or the name servers if only these follow the checks."""
    tool = queries.by_tool(calls, place)
    console.print("waiting until Route 53 knows how the health checks are ...", style="dim")
    if queries.settled(calls, tool):
        return tool, "TestDNSAnswer"
    console.print("TestDNSAnswer does not show the health checks as they should be. Asking the name servers ...")
    servers = queries.by_servers(calls, place)
    if queries.settled(calls, servers):
        return servers, "name servers"
    # Both say that a rule about health checks is broken; what TestDNSAnswer says is as good as the other.
    return tool, "TestDNSAnswer"


def _moves(
    calls: Calls, ask: Ask, wish: Wish, ids: Mapping[str, str], console: Console
) -> retarget.Moves | None:
    if not wish.living or not wish.dead:
        return None
    console.print("moving a health check to a dead address and back ...", style="dim")
    found = retarget.measure(calls, ask, ids[retarget.NAME], wish.living, wish.dead)
    for move in found.moves:
        flips = ", ".join(f"{at:.0f} s" for at in move.flips) or "never"
        told = "never" if move.told is None else f"after {move.told:.0f} s"
        console.print(f"moved to the {'living' if move.living else 'dead'} address: the first checker told of it "
                      f"{told}, the status changed at: {flips}", soft_wrap=True)
    console.print(f"[bold]right after a move a status[/] {found.model}")
    return found


def _announced(wish: Wish) -> str:
    checks = {**CHECKS, **wish.extra}
    many = len(records(wish.place.zone, wish.place.hostname, dict.fromkeys(checks, ""), "", tuple(wish.extra)))
    price = sum(_PRICES[config["Type"]] for config in checks.values())
    probing = "They are disabled, or calculated from those, so they ask nobody."
    if wish.living and wish.dead:
        probing = f"One asks {wish.living.address}, then {wish.dead.address}, every ten seconds. The others ask nobody."
    return (f"In the hosted zone {wish.place.zone} this makes {many} record sets below {LABEL}.{wish.place.hostname}, "
            f"and in the account {len(checks)} health checks. {probing}\n"
            f"A whole month of them costs ${price:.2f} by list prices, and a run no more than that. "
            + ("Nothing is removed at the end." if wish.keep else "All of it is removed at the end, also on Ctrl-C."))


def _left_words(left: Left) -> str:
    made = f" of {left.note.rpartition('=')[2].strip(chr(34))}" if left.note else ""
    return f"an earlier run{made} left {len(left.records)} record sets and {len(left.checks)} health checks"


def _asked(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, default=False):
        raise UsageError("nothing was changed")


def _print(console: Console, results: Sequence[Result]) -> None:
    table = Table("rule", "question", "from", "expected", "got", "")
    for result in results:
        expected = ", ".join(name if least == most else f"{name} {least} to {most} times"
                             for name, (least, most) in result.expected.items())
        got = ", ".join(f"{name} {times} times" if len(result.got) > 1 else name for name, times in result.got.items())
        table.add_row(result.rule, result.says, result.client, expected,
                      f"{got} (when asked again)" if result.again else got, "right" if result.agrees else "WRONG",
                      style="" if result.agrees else "bold red")
    console.print(table)


def _ended(wish: Wish, results: Sequence[Result]) -> str:
    wrong = [result for result in results if not result.agrees]
    kept = "all is still there. The next run, or one with --clear, removes it" if wish.keep else "all is removed again"
    if not wrong:
        return f"Route 53 does what the records rely on: {len(results)} of {len(results)} right; {kept}"
    rules = ", ".join(dict.fromkeys(result.rule for result in wrong))
    return f"[bold red]{len(wrong)} answers are not what the records rely on[/] (rules {rules}); {kept}"
